"""A user's torch Dataset, or iterable of batches, as tensors in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from concertina.errors import DataError

MAX_BYTES = 8 * 2**30
"""Most bytes that are taken into memory."""


def materialise(source: Any) -> list[Tensor]:
    """Return the fields of all samples, one tensor (n, ...) each.

    Args:
        source: A torch Dataset of samples; or an iterable (a list, a DataLoader, an IterableDataset) of batches, or of
            samples: what ends with, or holds, a single number is a sample. All are tuples of tensors or numbers.

    Raises:
        DataError: The source is of another kind, too large, empty, or its samples differ in shape.
    """
    if isinstance(source, Dataset) and hasattr(source, "__len__") and not isinstance(source, IterableDataset):
        return _collect(_as_batch(_tensors(source[i]), is_sample=True) for i in range(len(source)))
    if isinstance(source, Iterable) and not isinstance(source, str | bytes | Tensor | Mapping):
        return _collect(_as_batch(_tensors(item)) for item in source)
    raise DataError("data", asked=type(source).__name__, allowed="a torch Dataset or an iterable of batches")


def _tensors(sample: Any) -> tuple[Tensor, ...]:
    return tuple(_as_tensor(part) for part in _parts(sample))


def _as_batch(fields: tuple[Tensor, ...], *, is_sample: bool = False) -> tuple[Tensor, ...]:
    """Return a sample as a batch of one; a batch as it is."""
    if is_sample or any(not tensor.dim() for tensor in fields):
        return tuple(tensor[None] for tensor in fields)
    return fields


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
