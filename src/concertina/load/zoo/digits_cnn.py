"""A small residual network for 8x8 grey digits, made to be elastic in every width and in depth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from concertina.load.zoo.base import DIGITS_CLASSES, DIGITS_PREPROCESS, ZOO, ZooNetwork


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU: (batch, in, h, w) -> (batch, out, h / stride, w / stride)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        padding = (kernel_size - 1) // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated features of `x`."""
        return self.activation(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions over an identity shortcut; (batch, channels, h, w) stays as it is.

    Its inner width is free. Without its parameters it is the identity, since its input is never negative.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` plus what the block adds, activated."""
        added = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(x)))))
        return self.activation(x + added)


class DigitsCNN(nn.Module):
    """Residual network for 8x8 grey digits: three stages at 8x8, 4x4 and 2x2, nearly all MACs in the blocks.

    Stem and stage changes are plain convolutions, so each stage's stream is one coupled group of its own width.

    Args:
        streams: Channels between the blocks, per stage.
        inners: Channels inside the blocks, per stage.
        blocks: Residual blocks per stage.
        channels: Channels of the images.
        classes: Number of outputs.
    """

    def __init__(
        self,
        streams: Sequence[int] = (16, 24, 32),
        inners: Sequence[int] = (48, 48, 32),
        blocks: int = 2,
        channels: int = 1,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(channels, streams[0], 3)
        self.downs = nn.ModuleList(ConvNorm(a, b, 2, 2) for a, b in pairwise(streams))
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(stream, inner) for _ in range(blocks)))
            for stream, inner in zip(streams, inners, strict=True)
        )
        self.head = nn.Linear(streams[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, channels, 8, 8)."""
        x = self.stages[0](self.stem(x))
        for down, stage in zip(self.downs, list(self.stages)[1:], strict=True):
            x = stage(down(x))
        return self.head(x.mean(dim=(2, 3)))


def _shape(channels: int, **_: object) -> tuple[int, ...]:
    return (channels, 8, 8)


ZOO.register(
    "digits-cnn", source="ours, after ResNet (He et al. 2016, arXiv 1512.03385)", licence="Apache-2.0", year=2026
)(ZooNetwork(DigitsCNN, _shape, DIGITS_PREPROCESS, DIGITS_CLASSES, augment="shift", weights="digits-cnn.safetensors"))
