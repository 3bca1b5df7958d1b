"""In which order images lie in memory while a family trains."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def suits_channels_last(module: nn.Module) -> bool:
    """Return whether a network may train on images with their channels last, which is faster on most CPUs.

    Not with strided convolutions of one pixel: their backward pass on a CPU corrupts memory in torch 2.13 when a subnet
    leaves them four to six input channels (oneDNN's AVX2 kernel; benchmarks/crash_1x1.py shows it).

    Example:
        >>> suits_channels_last(nn.Conv2d(8, 8, 3)), suits_channels_last(nn.Conv2d(8, 8, 1, stride=2))
        (True, False)
    """
    layers = (layer for layer in module.modules() if isinstance(layer, _ConvNd))
    return not any(max(layer.kernel_size) == 1 < max(layer.stride) for layer in layers)


def laid_out(inputs: Iterable[Tensor], *, channels_last: bool) -> tuple[Tensor, ...]:
    """Return inputs, those of shape (batch, channels, height, width) with their channels last where that is asked."""
    if not channels_last:
        return tuple(inputs)
    return tuple(t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in inputs)
