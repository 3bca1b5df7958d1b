"""Augmentations of image batches; all randomness comes from the generator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from concertina.errors import DataError
from concertina.registry import Registry
from concertina.types import Preprocess

Augmentation = Callable[[Tensor, torch.Generator, Tensor], Tensor]
"""(images (batch, channels, height, width), generator, fill per channel (channels,)) -> images of the same shape."""

AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")
CROP_PADDING = 4


@AUGMENTATIONS.register("none", source="ours")
def unchanged(images: Tensor, generator: torch.Generator, fill: Tensor) -> Tensor:  # noqa: ARG001 - an Augmentation
    """Leave the inputs as they are; any shape."""
    return images


@AUGMENTATIONS.register("flip-crop", source="He et al. 2016, arXiv 1512.03385, section 4.2", year=2016)
def flip_crop(images: Tensor, generator: torch.Generator, fill: Tensor) -> Tensor:
    """Flip each image at random and cut it at random from itself with a border of 4 pixels."""
    _check_images(images)
    flipped = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    images = torch.where(flipped.to(images.device)[:, None, None, None], images.flip(-1), images)
    return shifted(images, CROP_PADDING, generator, fill)


@AUGMENTATIONS.register("shift", source="ours")
def shift(images: Tensor, generator: torch.Generator, fill: Tensor) -> Tensor:
    """Move each image by up to 1 pixel in each direction: for small pictures such as 8x8 digits."""
    return shifted(images, 1, generator, fill)


def shifted(images: Tensor, reach: int, generator: torch.Generator, fill: Tensor) -> Tensor:
    """Return images moved by their own random offsets of up to `reach` pixels.

    Args:
        images: (batch, channels, height, width).
        reach: Largest offset in each direction.
        generator: Source of the offsets.
        fill: Value per channel for what comes in from outside, (channels,) or (1,).

    Raises:
        DataError: The batch holds no images.
    """
    _check_images(images)
    batch, channels, height, width = images.shape
    border = fill.to(images).reshape(1, -1, 1, 1)
    padded = border.expand(batch, channels, height + 2 * reach, width + 2 * reach).clone()
    padded[:, :, reach : reach + height, reach : reach + width] = images
    offsets = torch.randint(2 * reach + 1, (2, batch, 1), generator=generator, device=generator.device)
    offsets = offsets.to(images.device)
    rows = (offsets[0] + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (offsets[1] + torch.arange(width, device=images.device))[:, None, None, :]
    samples = torch.arange(batch, device=images.device)[:, None, None, None]
    planes = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[samples, planes, rows, columns]


def black(preprocess: Preprocess) -> Tensor:
    """Return what a raw value of 0 becomes, per channel; shape (channels,) or (1,)."""
    mean = torch.tensor(preprocess.mean or (0.0,))
    return -mean / torch.tensor(preprocess.std or (1.0,))


def _check_images(images: Tensor) -> None:
    """Refuse inputs that are no images."""
    if images.dim() != 4:
        raise DataError(
            "augmentation of images",
            asked=f"inputs of shape {tuple(images.shape)}",
            allowed="4 dims",
            do="Use the augmentation 'none'.",
        )
