"""Bottleneck adapters: a small network of its own beside a layer, or behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.modules.base import KINDS, Follows, Kind, Owned


class Bottleneck(Kind):
    """What serial and parallel adapters have in common: down to a few features, ReLU, up again, added."""

    mergeable = False
    options = {"features": 16}
    reads: int
    """Side of the layer's weight that the adapter reads: 0 what it makes, 1 what it reads."""

    def suits(self, layer: nn.Module) -> bool:
        """Return whether it is a linear layer, or a plain convolution; beside one, only if it keeps the size."""
        if isinstance(layer, nn.Conv2d):
            same = layer.padding == tuple((k - 1) // 2 for k in layer.kernel_size) and layer.stride == (1, 1)
            return layer.groups == 1 and (self.reads == 0 or same)
        return isinstance(layer, nn.Linear)

    def own(
        self, layer: nn.Module, names: Mapping[str, str], options: Mapping[str, Any], generator: torch.Generator
    ) -> dict[str, Owned]:
        """Return down (features, read) of random values, its bias, and up (made, features) of zeros."""
        weight: Any = layer.weight
        features, name, read = options["features"], names["weight"], weight.shape[self.reads]
        place: dict[str, Any] = {"dtype": weight.dtype, "device": weight.device}
        down = torch.randn(features, read, generator=generator).to(weight) / read**0.5
        return {
            "down": Owned(down, (Follows(1, name, self.reads),)),
            "bias": Owned(torch.zeros(features, **place)),
            "up": Owned(torch.zeros(weight.shape[0], features, **place), (Follows(0, name, 0),)),
        }

    def delta(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return nothing: this is no change of weights."""
        return {}

    def attach(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
        """Add what the adapter makes to the layer's output."""

        def add(layer: Any, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            """Return the layer's output plus what the bottleneck makes."""
            x = output if self.reads == 0 else arguments[0]
            if isinstance(layer, nn.Linear):
                return output + F.linear(F.relu(F.linear(x, own["down"], own["bias"])), own["up"])
            thin = F.relu(F.conv2d(x, own["down"][..., None, None], own["bias"]))
            return output + F.conv2d(thin, own["up"][..., None, None])

        layer.register_forward_hook(add)


@KINDS.register("adapter", source="Houlsby et al., Adapters (arXiv:1902.00751)", year=2019)
class Serial(Bottleneck):
    """A bottleneck behind a layer, that reads what the layer makes; its output is added to that.

    Use it where a domain needs features that the core has not: it is no change of weights and cannot be merged.
    """

    name = "adapter"
    reads = 0


@KINDS.register("adapter-parallel", source="He et al., Parallel adapters (arXiv:2110.04366)", year=2021)
class Parallel(Bottleneck):
    """A bottleneck beside a layer, that reads what the layer reads; its output is added to the layer's.

    Use it like "adapter", on layers that keep the size of images.
    """

    name = "adapter-parallel"
    reads_inputs = True
    reads = 1
