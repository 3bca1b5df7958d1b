"""IA3: each of the features that a layer makes, or of those it reads, is scaled by a number of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from concertina.analyse.layers import is_transposed_linear
from concertina.modules.base import KINDS, Follows, Kind, Owned, is_plain


@KINDS.register("ia3", source="Liu et al., IA3 (arXiv:2205.05638)", year=2022)
class Ia3(Kind):
    """What a linear layer or a convolution makes is multiplied by `1 + change`, feature by feature, its bias too.

    With `inputs` what the layer reads is multiplied instead: so the paper scales the inner features of feed-forward
    layers, and the keys and values of attention by what makes them.

    Use it for many small domains: a number for each feature is the least that reaches every layer.
    """

    name = "ia3"
    mergeable = True
    scales = True
    options: Mapping[str, Any] = {"inputs": False}

    def suits(self, layer: nn.Module) -> bool:
        """Return whether it is linear, or a convolution that is not transposed and whose groups keep their number."""
        if is_plain(layer) and isinstance(layer, _ConvNd):
            return layer.groups == 1 or layer.in_channels == layer.out_channels
        return is_transposed_linear(layer) or (is_plain(layer) and isinstance(layer, nn.Linear))

    def own(
        self, layer: nn.Module, names: Mapping[str, str], options: Mapping[str, Any], generator: torch.Generator
    ) -> dict[str, Owned]:
        """Return zeros (features,): how much each scale differs from 1."""
        weight: Any = layer.weight
        side = _side(layer, inputs=options["inputs"])
        return {"change": Owned(weight.new_zeros(weight.shape[side]), (Follows(0, names["weight"], side),))}

    def delta(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the weight, and the bias where outputs are scaled, each times its change."""
        weight: Any = layer.weight
        bias: Any = layer.bias
        groups: Any = getattr(layer, "groups", 1)
        change, side = own["change"], _side(layer, inputs=options["inputs"])
        if options["inputs"] and groups > 1:
            by_group = change.reshape(groups, 1, -1, *(1,) * (weight.dim() - 2))
            return {"weight": (weight.unflatten(0, (len(by_group), -1)) * by_group).flatten(0, 1)}
        made = {"weight": weight * change.reshape(-1, *(1,) * (weight.dim() - 1 - side))}
        return made if options["inputs"] or bias is None else {**made, "bias": bias * change}

    def attach(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
        """Scale what the layer makes, or what it is given."""

        def scaled(layer: Any, x: Tensor) -> Tensor:
            """Return features times their scales; channels lie before the places of an image."""
            places = len(layer.kernel_size) if isinstance(layer, _ConvNd) else 0
            return x * (1 + own["change"]).reshape(-1, *(1,) * places)

        if options["inputs"]:
            layer.register_forward_pre_hook(lambda layer, given: (scaled(layer, given[0]), *given[1:]))
        else:
            layer.register_forward_hook(lambda layer, _given, output: scaled(layer, output))


def _side(layer: nn.Module, *, inputs: bool) -> int:
    """Return the side of the weight that the scaled features lie along."""
    if getattr(layer, "groups", 1) > 1:
        return 0
    return int(inputs != is_transposed_linear(layer))
