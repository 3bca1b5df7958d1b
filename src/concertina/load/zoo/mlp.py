"""A plain multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from concertina.load.zoo.base import DIGITS_CLASSES, DIGITS_PREPROCESS, ZOO, ZooNetwork


class MLP(nn.Module):
    """Plain multilayer perceptron for 8x8 digits: linear layers with ReLU between them, no normalisation.

    Args:
        input_shape: Shape of one input; all of it is flattened.
        hidden: Width of each hidden layer.
        classes: Number of outputs.
    """

    def __init__(
        self, input_shape: Sequence[int] = (1, 8, 8), hidden: Sequence[int] = (128, 128, 64), classes: int = 10
    ) -> None:
        super().__init__()
        sizes = [math.prod(input_shape), *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], classes)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes) of inputs (batch, ...)."""
        x = x.flatten(1)
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.head(x)


def _shape(input_shape: Sequence[int], **_: object) -> tuple[int, ...]:
    return tuple(input_shape)


ZOO.register("mlp", source="ours", licence="Apache-2.0", year=2026)(
    ZooNetwork(MLP, _shape, DIGITS_PREPROCESS, DIGITS_CLASSES, weights="mlp.safetensors")
)
