"""Sparse difference: a few of a weight's values change, and gates that are learnt say which."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.modules.base import KINDS, Follows, Kind, Owned, is_plain

LOW, HIGH, TEMPERATURE = -0.1, 1.1, 2 / 3
"""Ends of the stretched interval and the temperature of the gates' hard concrete distribution."""
STARTS_OPEN = 2.0
"""Where the gates' logits start: nearly all are open."""


@KINDS.register(
    "sparse",
    source="Guo et al., Diff pruning (arXiv:2012.07463); Louizos et al., L0 gates (arXiv:1712.01312)",
    year=2021,
)
class Sparse(Kind):
    """A difference to each weight times a gate for each of its values; what `penalty` costs too much is shut.

    In training gates are drawn from the hard concrete distribution; in use a gate is what it is in the middle of that,
    exactly 0 where it is shut, so the difference is sparse and can be kept as places and values.

    Use it where a change should touch as little as can be: a debiasing, a correction.
    """

    name = "sparse"
    mergeable = True
    options = {"penalty": 1.0}

    def suits(self, layer: nn.Module) -> bool:
        """Return whether it is a linear layer or a convolution that is not transposed."""
        return is_plain(layer) and not isinstance(layer, nn.Embedding)

    def own(
        self, layer: nn.Module, names: Mapping[str, str], options: Mapping[str, Any], generator: torch.Generator
    ) -> dict[str, Owned]:
        """Return the difference, zeros, and the gates' logits, both in the weight's shape."""
        weight: Any = layer.weight
        follows = tuple(Follows(dim, names["weight"], dim) for dim in (0, 1))
        return {
            "difference": Owned(torch.zeros_like(weight), follows),
            "gate": Owned(torch.full_like(weight, STARTS_OPEN), follows),
        }

    def delta(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the gated difference; exact zeros where gates are shut."""
        return {"weight": own["difference"] * _stretched(own["gate"].sigmoid())}

    def attach(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
        """Add what the difference makes of the layer's input to its output; gates are drawn where gradients flow."""

        def add(layer: Any, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            """Return the layer's output plus what the difference makes of its input."""
            training = own["gate"].requires_grad and torch.is_grad_enabled()
            gate = _drawn(own["gate"]) if training else _stretched(own["gate"].sigmoid())
            weight = own["difference"] * gate
            if isinstance(layer, nn.Linear):
                return output + F.linear(arguments[0], weight)
            return output + layer._conv_forward(arguments[0], weight, None)  # noqa: SLF001 - the layer's own padding

        layer.register_forward_hook(add)


def open_share(gate: Tensor) -> Tensor:
    """Return the expected share of gates that are not shut, a scalar that the penalty is on.

    Args:
        gate: Logits of any shape.
    """
    return (gate - TEMPERATURE * math.log(-LOW / HIGH)).sigmoid().mean()


def _drawn(gate: Tensor) -> Tensor:
    noise = torch.rand_like(gate).clamp(1e-6, 1 - 1e-6)
    return _stretched(((noise.log() - (1 - noise).log() + gate) / TEMPERATURE).sigmoid())


def _stretched(share: Tensor) -> Tensor:
    return (share * (HIGH - LOW) + LOW).clamp(0, 1)
