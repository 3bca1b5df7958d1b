"""Low rank: a weight's change is the product of two thin matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse.layers import is_transposed_linear
from concertina.modules.base import KINDS, Follows, Kind, Owned, is_plain

ROOM = 2
"""How many times the mean rank one layer may grow to."""


@KINDS.register("lora", source="Hu et al., LoRA (arXiv:2106.09685)", year=2021)
class Lora(Kind):
    """Low-rank change of linear layers, convolutions (grouped ones too) and embeddings, `alpha / rank` times B A.

    A reads as the layer reads (rank, in, *kernel), B makes what it makes (out, rank); B starts at zero. Attached, an
    ordinary layer of `rank` outputs and a 1x1 follow the input beside the core's own; grouped convolutions, whose A
    would have to read every group, apply the product instead.

    With `grow_to` above `rank` ranks grow in training, to this mean over all layers, where they matter most (IncreLoRA,
    arXiv:2308.12043).

    Use it where nothing else is said: it merges without trace and has the most tools around it.
    """

    name = "lora"
    mergeable = True
    options = {"rank": 8, "alpha": 16.0, "grow_to": 1}

    def suits(self, layer: nn.Module) -> bool:
        """Return whether it is a linear layer, a convolution that is not transposed, or an embedding."""
        return is_transposed_linear(layer) or (is_plain(layer) and getattr(layer, "max_norm", None) is None)

    def own(
        self, layer: nn.Module, names: Mapping[str, str], options: Mapping[str, Any], generator: torch.Generator
    ) -> dict[str, Owned]:
        """Return A (rank, in, *kernel) of random values and B (out, rank) of zeros; of a table, both the other way."""
        weight: Any = layer.weight
        made, reads = (1, 0) if is_transposed_linear(layer) else (0, 1)
        grows = options["grow_to"] > options["rank"]
        rank = ROOM * options["grow_to"] if grows else options["rank"]
        (out, read, *kernel), name = weight.transpose(made, 0).shape, names["weight"]
        place: dict[str, Any] = {"dtype": weight.dtype, "device": weight.device}
        if isinstance(layer, nn.Embedding):
            first, second = torch.zeros(rank, out, **place), torch.randn(read, rank, generator=generator).to(weight)
            return {"A": Owned(first, (Follows(1, name, 0),)), "B": Owned(second, (Follows(0, name, 1),))}
        bound = math.sqrt(3 / (read * math.prod(kernel)))
        first = (2 * torch.rand(rank, read, *kernel, generator=generator) - 1).to(weight) * bound
        second = torch.zeros(out, rank, **place)
        return {"A": Owned(first, (Follows(1, name, reads),)), "B": Owned(second, (Follows(0, name, made),))}

    def delta(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the change of the weight, in its shape."""
        scale = _scale(options)
        if isinstance(layer, nn.Embedding) or is_transposed_linear(layer):
            return {"weight": scale * (own["B"] @ own["A"]).T}
        return {"weight": scale * torch.einsum("or,r...->o...", own["B"], own["A"])}

    def attach(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
        """Add what the thin matrices make of the layer's input to its output."""
        scale = _scale(options)

        def add(layer: Any, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            """Return the layer's output plus what the thin matrices make of its input."""
            x = arguments[0]
            if isinstance(layer, nn.Embedding):
                return output + scale * F.linear(F.embedding(x, own["A"].T), own["B"])
            if own["A"].dim() == 2:
                return output + scale * F.linear(F.linear(x, own["A"]), own["B"])
            if layer.groups > 1:
                return output + layer._conv_forward(x, self.delta(layer, own, options)["weight"], None)  # noqa: SLF001
            thin = layer._conv_forward(x, own["A"], None)  # noqa: SLF001 - the layer's own padding, stride and dilation
            kernel = (1,) * (own["A"].dim() - 2)
            one_by_one = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(kernel)]
            return output + scale * one_by_one(thin, own["B"].reshape(*own["B"].shape, *kernel))

        layer.register_forward_hook(add)


def _scale(options: Mapping[str, Any]) -> float:
    """Return what the product is multiplied by; as at the mean rank that a growing one will have."""
    return options["alpha"] / max(options["rank"], options["grow_to"])
