"""The same shape built by hand: a network of freshly made ordinary layers, with the weights of a subnet."""

from __future__ import annotations

import copy

from torch import nn

LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d, nn.LayerNorm)
"""Layers that are made anew; others are copied."""


def by_hand(network: nn.Module) -> nn.Module:
    """Return a network of the same shape and weights whose sized layers were made by their constructors.

    Args:
        network: A materialised subnet; it is left as it is.

    Example:
        >>> own = by_hand(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
        >>> own[0]
        Linear(in_features=3, out_features=2, bias=True)
    """
    made = same_shape(network)
    made.load_state_dict(network.state_dict())
    return made


def same_shape(network: nn.Module) -> nn.Module:
    """Return a network of the same shape, its sized layers as their constructors leave them, in eval mode."""
    made = copy.deepcopy(network)
    build_anew(made)
    return made.eval()


def build_anew(network: nn.Module) -> None:
    """Put layers as their constructors leave them in the place of a network's sized layers."""
    for path, layer in list(network.named_modules()):
        if type(layer) in LAYERS and path:
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, _made_anew(layer))


def _made_anew(layer: nn.Module) -> nn.Module:
    has_bias = getattr(layer, "bias", None) is not None
    match layer:
        case nn.Conv2d():
            return nn.Conv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,  # type: ignore[arg-type]
                layer.stride,  # type: ignore[arg-type]
                layer.padding,  # type: ignore[arg-type]
                layer.dilation,  # type: ignore[arg-type]
                layer.groups,
                has_bias,
            )
        case nn.Linear():
            return nn.Linear(layer.in_features, layer.out_features, has_bias)
        case nn.LayerNorm():
            return nn.LayerNorm(layer.normalized_shape, layer.eps, layer.elementwise_affine, has_bias)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return type(layer)(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    return copy.deepcopy(layer)
