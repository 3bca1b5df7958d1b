"""Networks of transformers as plain ones: tensors in, the one tensor that matters out."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

Pooling = Literal["mean", "cls"]
POOLINGS = get_args(Pooling)
"""How token vectors become one vector a sentence: their mean, or that of the first token."""


class ImageNetwork(nn.Module):
    """A network that reads pixels.

    Args:
        network: The library's network.
        output: Field of its output that matters.
    """

    def __init__(self, network: Any, output: str) -> None:
        super().__init__()
        self.network: Any = network
        self.output = output

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the output, (batch, ...), for images (batch, channels, height, width)."""
        return _field(self.network(pixel_values=pixels), self.output)


class TextNetwork(nn.Module):
    """A network that reads token ids; those of padding are told to it by a mask.

    Zeros at the end of a row are padding, and so is the network's own padding token: data is padded with zeros
    whatever the network was trained with.

    Args:
        network: The library's network.
        output: Field of its output that matters.
        padding: The network's id of padding; none for networks that look at no later token.
        pooling: How token vectors become one vector; none: the output is given as it is.
    """

    def __init__(self, network: Any, output: str, padding: int | None = None, pooling: Pooling | None = None) -> None:
        super().__init__()
        self.network: Any = network
        self.output, self.padding, self.pooling = output, padding, pooling

    def forward(self, ids: Tensor) -> Tensor:
        """Return the output, (batch, ...), for token ids (batch, tokens)."""
        if self.padding is None:
            return _field(self.network(input_ids=ids), self.output)
        seen = _seen(ids, self.padding)
        if self.padding:
            ids = torch.where(seen, ids, self.padding)
        found = _field(self.network(input_ids=ids, attention_mask=seen.to(ids.dtype)), self.output)
        return found if self.pooling is None else _pooled(found, seen, self.pooling)


def _field(outputs: Any, name: str) -> Tensor:
    found: Tensor = outputs[name]
    return found


def _seen(ids: Tensor, padding: int) -> Tensor:
    """Return which tokens are none of the padding at the end of their row, (batch, tokens); the first always is one."""
    tokens = (ids != 0) & (ids != padding) if padding else ids != 0
    later = tokens.flip(1).cumsum(1).flip(1) > 0
    first = torch.arange(ids.shape[1], device=ids.device) == 0
    return later | first


def _pooled(x: Tensor, seen: Tensor, pooling: Pooling) -> Tensor:
    if pooling == "cls":
        return x[:, 0]
    weight = seen[:, :, None].to(x.dtype)
    return (x * weight).sum(dim=1) / weight.sum(dim=1)
