"""A running average of weights, which are noisier than their mean."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Average:
    """Exponential average of tensors over the steps of a phase; it begins as their copy.

    A tensor that does not change keeps its value bit for bit.

    Args:
        tensors: What to average; floating-point ones only are.
        decay: How much of the average stays at each step, 0 to below 1; less in the first steps.

    Source: Polyak and Juditsky 1992; the warm-up of the decay, (1 + t) / (10 + t), is common practice.

    Example:
        >>> weight = torch.zeros(1)
        >>> average = Average({"w": weight}, 0.5)
        >>> _ = weight.fill_(1.0)
        >>> average.update(1000)
        >>> average.install()
        >>> weight
        tensor([0.5000])
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self._tensors = {name: t.detach() for name, t in tensors.items() if t.is_floating_point()}
        self._decay = decay
        self.values = {name: tensor.clone() for name, tensor in self._tensors.items()}
        """The averages by name."""

    def update(self, step: int) -> None:
        """Take in the tensors as they are after `step` steps of the phase."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self.values.items():
                value.lerp_(self._tensors[name], share)

    def install(self) -> None:
        """Put the averages in place of the tensors."""
        with torch.no_grad():
            for name, value in self.values.items():
                self._tensors[name].copy_(value)
