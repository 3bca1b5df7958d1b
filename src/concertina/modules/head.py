"""A head of its own: the network's last layer anew, for other classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.modules.base import KINDS, Follows, Kind, Owned


@KINDS.register("head", source="ours", year=2026)
class Head(Kind):
    """Another linear layer in the place of the one that makes the network's outputs, with as many classes as asked for.

    Use it where a domain has classes of its own; alone, over frozen features, it is the cheapest module there is.
    """

    name = "head"
    mergeable = False
    reads_inputs = True
    options = {"classes": 2}

    def suits(self, layer: nn.Module) -> bool:
        """Return whether it is a linear layer."""
        return isinstance(layer, nn.Linear)

    def own(
        self, layer: nn.Module, names: Mapping[str, str], options: Mapping[str, Any], generator: torch.Generator
    ) -> dict[str, Owned]:
        """Return weight (classes, in) and bias (classes,), zeros: all classes are alike at first."""
        weight: Any = layer.weight
        made = torch.zeros(options["classes"], weight.shape[1], dtype=weight.dtype, device=weight.device)
        return {"weight": Owned(made, (Follows(1, names["weight"], 1),)), "bias": Owned(made.new_zeros(len(made)))}

    def delta(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return nothing: this is no change of weights."""
        return {}

    def attach(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
        """Let the layer give the head's outputs in place of its own."""

        def answer(_layer: nn.Module, arguments: tuple[Any, ...], _output: Tensor) -> Tensor:
            """Return logits (batch, ..., classes) of the head's own classes."""
            return F.linear(arguments[0], own["weight"], own["bias"])

        layer.register_forward_hook(answer)
