"""A user's torch Dataset, or iterable of batches, as tensors in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from concertina.errors import DataError

MAX_BYTES = 8 * 2**30
"""Most bytes that are taken into memory."""


def materialise(source: Any) -> list[Tensor]:
    """Return the fields of all samples, one tensor (n, ...) each.

    Args:
        source: A torch Dataset of samples, or an iterable of batches; both tuples of tensors or numbers.

    Raises:
        DataError: The source is of another kind, too large, empty, or its samples differ in shape.
    """
    if isinstance(source, Dataset) and hasattr(source, "__len__"):
        return _collect(tuple(_as_tensor(part)[None] for part in _parts(source[i])) for i in range(len(source)))
    if isinstance(source, Iterable):
        return _collect(tuple(_as_tensor(part) for part in _parts(batch)) for batch in source)
    raise DataError("data", asked=type(source).__name__, allowed="a torch Dataset or an iterable of batches")


def _parts(sample: Any) -> Sequence[Any]:
    if not isinstance(sample, tuple | list):
        raise DataError("a sample or batch of the data", asked=type(sample).__name__, allowed="a tuple of tensors")
    return sample


def _as_tensor(value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError("a field of the data", asked=type(value).__name__, allowed="tensors or numbers") from error


def _collect(rows: Iterable[tuple[Tensor, ...]]) -> list[Tensor]:
    """Return rows of tensors joined along the first dim."""
    kept, size = [], 0
    for row in rows:
        kept.append(row)
        size += sum(tensor.numel() * tensor.element_size() for tensor in row)
        if size > MAX_BYTES:
            raise DataError("data too large for memory", allowed=f"{MAX_BYTES} bytes", do="Give a part of it.")
    if not kept:
        raise DataError("data without samples")
    try:
        return [torch.cat(column) for column in zip(*kept, strict=True)]
    except (RuntimeError, ValueError) as error:
        raise DataError("samples of the data differ in shape or number", asked=str(error).split("\n")[0]) from error
