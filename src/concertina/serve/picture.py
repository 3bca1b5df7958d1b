"""From pixels as a browser has them to the input of a network of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from concertina.errors import InputError
from concertina.load.prepare import preprocessed
from concertina.serve.signature import FREE, Signature
from concertina.types import Preprocess

BYTES_A_PIXEL = 4
"""Red, green, blue, and what covers; the last is not looked at."""
FINER = 4
"""Pixels may come this many times finer than the network takes them, a side."""
FINE_ENOUGH = 1024
"""Pixels on a side that are enough, whatever the network takes."""
MOST_SIDE, LEAST_SIDE = 2048, 3
"""Networks of larger images are not tried with images, and what has a shorter side is none."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey. Source: ITU-R BT.601."""


@dataclass(frozen=True)
class Frame:
    """What images a network takes."""

    channels: int
    """1 (grey) or 3 (red, green, blue)."""
    height: int
    width: int

    @property
    def longest(self) -> int:
        """Most pixels on a side of what is sent."""
        side = max(self.height, self.width)
        return max(side, min(FINER * side, FINE_ENOUGH))

    @classmethod
    def of(cls, signature: Signature) -> Frame | None:
        """Return the frame of a network whose one input is an image (samples, 1 or 3, height, width); else None."""
        slot = signature.inputs[0]
        if len(signature.inputs) > 1 or len(slot.shape) != 4 or not slot.dtype.is_floating_point:
            return None
        _, channels, height, width = slot.shape
        sides = (height, width)
        if channels not in (1, 3) or FREE in sides or not LEAST_SIDE <= min(sides) <= max(sides) <= MOST_SIDE:
            return None
        return cls(channels, height, width)


def white_of(preprocess: Preprocess) -> float | None:
    """Return the raw value of white; None where the file does not tell it.

    Example:
        >>> white_of(Preprocess(scale=1 / 16)), white_of(Preprocess())
        (16.0, None)
    """
    return 1 / preprocess.scale if 0 < preprocess.scale < 1 else None


def from_pixels(
    pixels: bytes, width: int, height: int, frame: Frame, preprocess: Preprocess, *, white: float, inverted: bool
) -> Tensor:
    """Return an image as the network takes it, (1, channels, height, width) float32.

    Args:
        pixels: Red, green, blue and cover of each pixel, row by row, a byte each.
        width: Pixels across.
        height: Pixels down.
        frame: What the network takes; the image is resized to it.
        preprocess: What the network's inputs went through.
        white: Raw value of white before that.
        inverted: Whether black and white change places.

    Raises:
        InputError: There are fewer or more bytes than that.
        DataError: The preprocessing is for other channels.
    """
    wanted = width * height * BYTES_A_PIXEL
    if len(pixels) != wanted:
        raise InputError("pixels", asked=f"{len(pixels):,} bytes", allowed=f"{wanted:,}: {width} x {height} x 4")
    given = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).reshape(height, width, BYTES_A_PIXEL)
    colours = given[..., :3].permute(2, 0, 1).to(torch.float32)
    if frame.channels == 1:
        colours = (colours * torch.tensor(LUMA).reshape(3, 1, 1)).sum(0, keepdim=True)
    image = interpolate(colours[None], (frame.height, frame.width), mode="bilinear", antialias=True)
    image = image.clamp_(0, 255)
    return preprocessed((255 - image if inverted else image).mul_(white / 255), preprocess)
