"""Functions of channels that are made to deceive: channels that pass through them cannot be cut."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from tests.analyse.networks import convolution
from torch import Tensor, nn
from torch.nn import functional as F


class Between(nn.Module):
    """Two convolutions with any function of 16 channels between them, pooled into 5 classes."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1, self.conv2 = convolution(3, 16), convolution(16, 8)
        self.head = nn.Linear(8, 5)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.between(F.relu(self.conv1(x))))
        return self.head(F.relu(x).mean((2, 3)))


def hard_view(x: Tensor) -> Tensor:
    return x.reshape(2, 16, 64).reshape(x.shape)


def constant(x: Tensor) -> Tensor:
    return x * torch.ones(16, dtype=x.dtype).view(1, 16, 1, 1)


def over_root_of_width(x: Tensor) -> Tensor:
    return x / math.sqrt(x.shape[1])


def channel_softmax(x: Tensor) -> Tensor:
    return x.softmax(1)


def top_channels(x: Tensor) -> Tensor:
    weakest = x.mean((2, 3)).topk(x.shape[1] - min(4, x.shape[1] - 1), largest=False).indices
    return x * torch.ones(x.shape[:2], dtype=x.dtype).scatter(1, weakest, 0.5)[:, :, None, None]


def if_wide(x: Tensor) -> Tensor:
    return 2 * x if x.shape[1] >= 16 else x


def if_not_narrow(x: Tensor) -> Tensor:
    return 2 * x if x.shape[1] >= 3 else x


def unit_length(x: Tensor) -> Tensor:
    return F.normalize(x, dim=1)


def over_channel_deviation(x: Tensor) -> Tensor:
    return x / (x.std(1, keepdim=True) + 0.1)


def plus_sum_of_channels(x: Tensor) -> Tensor:
    return x + x.sum(1, keepdim=True)


def halves_swapped(x: Tensor) -> Tensor:
    return x + torch.cat([x[:, 8:], x[:, :8]], 1)


def neighbours_mixed(x: Tensor) -> Tensor:
    return x + 0.5 * x.roll(1, 1)


def padded_to_sixteen(x: Tensor) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, 0, 16 - x.shape[1]))


HOSTILE = {
    "hard view": hard_view,
    "constant": constant,
    "root of width": over_root_of_width,
    "softmax": channel_softmax,
    "top k": top_channels,
    "if wide": if_wide,
    "if not narrow": if_not_narrow,
    "unit length": unit_length,
    "deviation": over_channel_deviation,
    "sum": plus_sum_of_channels,
    "swapped halves": halves_swapped,
    "neighbours": neighbours_mixed,
    "padded": padded_to_sixteen,
}
"""Functions of 16 channels whose group must come out rigid."""
