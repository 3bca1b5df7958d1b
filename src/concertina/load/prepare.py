"""From what a file holds to what a network eats: preprocessed inputs and checked labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from concertina.errors import DataError
from concertina.load.sources import Raw
from concertina.types import Preprocess

ROWS = 4096
"""Samples that are checked at once."""


def prepare(raw: Raw, preprocess: Preprocess) -> Tensor:
    """Return raw inputs as float32, preprocessed; images as (n, channels, height, width).

    Raises:
        DataError: The channels are not those of the preprocessing, or pixels are scaled already.
    """
    images = torch.from_numpy(raw.inputs)
    if raw.channels_last:
        images = images.permute(0, 3, 1, 2)
    if images.is_floating_point() and preprocess.scale < 0.01 and images.numel() and float(images.max()) <= 1.0:
        raise DataError(
            "inputs are between 0 and 1 already, while the network's preprocessing expects raw pixels",
            asked=f"largest value {float(images.max()):.3g}",
            do="Store the pixels as whole numbers from 0 to 255.",
        )
    inputs = images.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    return preprocessed(inputs, preprocess)


def preprocessed(inputs: Tensor, preprocess: Preprocess) -> Tensor:
    """Return raw inputs (n, channels, ...) as the network was trained on them; they are changed in place.

    Raises:
        DataError: The channels are not those of the preprocessing.
    """
    inputs = inputs.mul_(preprocess.scale)
    for figures, change in ((preprocess.mean, inputs.sub_), (preprocess.std, inputs.div_)):
        if figures:
            change(_per_channel(figures, inputs))
    return inputs


def _per_channel(figures: Sequence[float], inputs: Tensor) -> Tensor:
    """Return preprocessing figures shaped to act on the channels of `inputs`; one figure fits everything."""
    if len(figures) not in (1, inputs.shape[1]):
        raise DataError(
            "channels of the data", asked=str(inputs.shape[1]), allowed=f"{len(figures)}, as the network expects"
        )
    return torch.tensor(figures, dtype=inputs.dtype).reshape(1, -1, *[1] * (inputs.dim() - 2))


def check_finite_inputs(inputs: Tensor) -> None:
    """Refuse inputs (n, ...) with NaN or infinite values.

    Raises:
        DataError: The text says how many samples hold them, and which is the first.
    """
    if not inputs.is_floating_point():
        return
    parts = inputs.split(ROWS)  # the check makes copies: in parts, so that large data need not fit twice
    good = torch.cat([torch.isfinite(part.reshape(len(part), -1)).all(dim=1) for part in parts])
    if not bool(good.all()):
        first = int(good.logical_not().nonzero()[0])
        raise DataError(f"{int((~good).sum())} samples hold NaN or infinite inputs, the first is number {first}")


def as_labels(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels as int64, after checking that they are class numbers.

    Args:
        labels: One number a sample, (n,).
        num_classes: How many classes there are; 0 when unknown.

    Raises:
        DataError: Labels have another shape, fractions, or are out of range.
    """
    if labels.dim() != 1:
        raise DataError("labels", asked=f"shape {tuple(labels.shape)}", allowed="one number a sample")
    if labels.is_complex() or (labels.is_floating_point() and not bool((labels == labels.round()).all())):
        raise DataError("labels", asked=f"{labels.dtype} with fractions or NaN", allowed="whole numbers")
    whole = labels.to(torch.int64)
    low, high = (int(whole.min()), int(whole.max())) if len(whole) else (0, 0)
    if low < 0 or (num_classes and high >= num_classes):
        allowed = f"0 to {num_classes - 1}" if num_classes else "0 and more"
        raise DataError("labels out of range", asked=str(low if low < 0 else high), allowed=allowed)
    return whole
