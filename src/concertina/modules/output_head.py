"""A head on a network's outputs: classes for an encoder that has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.modules.base import KINDS, Kind, Owned


@KINDS.register("head-on-outputs", source="ours", year=2026)
class OutputHead(Kind):
    """A linear layer behind the whole network, over its outputs, normalised over their features first.

    Use it where an encoder of sentences or images is to tell classes; it comes by itself with the data's classes.
    """

    name = "head-on-outputs"
    mergeable = False
    whole = True
    options = {"classes": 2, "features": 1}

    def suits(self, layer: nn.Module) -> bool:
        """Return True: it is on the network as a whole."""
        return True

    def own(
        self, layer: nn.Module, names: Mapping[str, str], options: Mapping[str, Any], generator: torch.Generator
    ) -> dict[str, Owned]:
        """Return weight (classes, features) and bias (classes,), zeros: all classes are alike at first."""
        like: Any = next(layer.parameters())
        made = torch.zeros(options["classes"], options["features"], dtype=like.dtype, device=like.device)
        return {"weight": Owned(made), "bias": Owned(made.new_zeros(len(made)))}

    def delta(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return nothing: this is no change of weights."""
        return {}

    def attach(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
        """Let the network answer in the head's classes."""

        def answer(_network: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            """Return logits (batch, ..., classes)."""
            return F.linear(F.layer_norm(output, output.shape[-1:]), own["weight"], own["bias"])

        layer.register_forward_hook(answer)
