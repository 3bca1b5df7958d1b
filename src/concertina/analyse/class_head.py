"""The layer that makes a classifier's outputs, cut to some of its classes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse.rewriting import WAYS, Way, with_layers
from concertina.errors import AnalysisError
from concertina.types import Core, Rewrite

CLASSES, WITH_OTHER = "classes", "classes-and-other"
SAME = 1e-4
"""Largest relative difference between the outputs of the cut network and those of the whole at the same classes."""


class ClassHead(nn.Linear):
    """A linear layer for some classes, and one more output for all others together.

    The last output is the logarithm of the sum of the others' exponentials: a softmax over all then gives each class
    the probability it had, and "other" the sum of the rest.
    """

    def __init__(self, in_features: int, kept: int, rest: int, *, bias: bool, **place: Any) -> None:
        super().__init__(in_features, kept, bias, **place)
        self.rest = nn.Linear(in_features, rest, bias, **place)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (..., kept + 1) of inputs (..., in_features)."""
        return torch.cat([F.linear(x, self.weight, self.bias), self.rest(x).logsumexp(-1, keepdim=True)], dim=-1)


@WAYS.register(CLASSES, source="ours")
class Classes(Way):
    """A linear layer with the rows of some classes."""

    def fits(self, layer: nn.Module) -> bool:
        """Return whether it is a linear layer of torch."""
        return type(layer) is nn.Linear

    def limits(self, layer: nn.Linear) -> tuple[int, int]:
        """Return how many classes may be kept at most."""
        return layer.out_features, layer.out_features

    def build(self, layer: nn.Linear, how: Rewrite) -> nn.Module:
        """Return the layer; `how.rank` is the number of classes kept, and values do not matter."""
        place: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        return nn.Linear(layer.in_features, how.rank, layer.bias is not None, **place)


@WAYS.register(WITH_OTHER, source="ours")
class WithOther(Classes):
    """A linear layer with the rows of some classes, and one output for all others together."""

    def limits(self, layer: nn.Linear) -> tuple[int, int]:
        """Return how many classes may be kept at most: one is among the others."""
        return layer.out_features - 1, layer.out_features - 1

    def build(self, layer: nn.Linear, how: Rewrite) -> nn.Module:
        """Return the layer; `how.rank` is the number of classes kept, and values do not matter."""
        place: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        rest = layer.out_features - how.rank
        return ClassHead(layer.in_features, how.rank, rest, bias=layer.bias is not None, **place)


def cut_head(layer: nn.Linear, kept: Sequence[int], *, other: bool) -> tuple[Rewrite, nn.Module]:
    """Return the form of a layer cut to some of its rows, and the layer.

    Args:
        layer: The layer that makes the outputs.
        kept: Numbers of the classes, in their new order.
        other: Whether there is one more output for all other classes.
    """
    how = Rewrite(WITH_OTHER if other else CLASSES, len(kept))
    made: Any = WAYS.get(how.way)().build(layer, how)
    rest = [i for i in range(layer.out_features) if i not in kept]
    with torch.no_grad():
        for target, rows in ((made, list(kept)), *(((made.rest, rest),) if other else ())):
            target.weight.copy_(layer.weight[rows])
            if layer.bias is not None:
                target.bias.copy_(layer.bias[rows])
    return how, made


def class_layer(core: Core, module: nn.Module, num_classes: int) -> str:
    """Return the path of the linear layer whose rows are the network's outputs, found by experiment.

    Args:
        core: Gives example inputs.
        module: The network, in eval mode.
        num_classes: Number of its outputs.

    Raises:
        AnalysisError: There is no such layer: something else makes the outputs, or rows mean something to it.
    """
    kept = [num_classes - 1, 0] if num_classes > 2 else [1]
    with torch.no_grad():
        wanted = module(*core.example_inputs)[..., kept]
        for path, layer in reversed(list(module.named_modules())):
            if type(layer) is nn.Linear and layer.out_features == num_classes and path:
                cut = with_layers(module, {path: cut_head(copy.deepcopy(layer), kept, other=False)[1]})
                try:
                    ours = cut(*core.example_inputs)
                except Exception:  # another layer with as many outputs, whose reader wants them all
                    continue
                if ours.shape == wanted.shape and bool((ours - wanted).abs().max() <= SAME * wanted.abs().max()):
                    return path
    raise AnalysisError(
        "the layer that makes this network's classes was not found",
        asked=f"{num_classes} outputs that no linear layer of their own makes",
    )
