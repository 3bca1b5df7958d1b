"""Data as tensors: opened from files, adapted from torch datasets, cut into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from concertina.errors import DataError
from concertina.load.adapt import materialise
from concertina.load.prepare import as_labels, check_finite_inputs, prepare
from concertina.load.sources import Progress, no_progress, read
from concertina.types import Core, Preprocess


class TensorData(Dataset[tuple[Tensor, ...]]):
    """Samples held as tensors that share their first dim.

    Args:
        tensors: One tensor per field of a batch, each (n, ...).
        class_names: Class names in the order of the labels, where there are classes.

    Raises:
        DataError: There are no samples, or the tensors differ in length.
    """

    def __init__(self, tensors: Sequence[Tensor], class_names: Sequence[str] = ()) -> None:
        lengths = {len(tensor) if tensor.dim() else 0 for tensor in tensors}
        if len(lengths) != 1:
            raise DataError("fields of the data", asked=f"lengths {sorted(lengths)}", allowed="one length for all")
        if not lengths.pop():
            raise DataError("data without samples", do="Check the file and the part or split asked for.")
        self.tensors = tuple(tensors)
        self.class_names = tuple(class_names)
        self.source = ""
        """What the samples were opened from: "zoo:digits@test", "cells.npz@part=test"; "" where that is not known."""
        self.origin = ""
        """Fingerprint of the data whose classes these are some of; "" for data as it was opened."""

    @property
    def label(self) -> str:
        """What to call the data in a report: its source, as far as it is known, and its size."""
        return f"{self.source}, {len(self):,} samples".removeprefix(", ")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over dtypes, shapes and bytes of all tensors."""
        digest = hashlib.sha256()
        for tensor in self.tensors:
            digest.update(f"{tensor.dtype}|{tuple(tensor.shape)}|".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def subset(self, indices: Sequence[int] | Tensor) -> Self:
        """Return the samples at `indices`, in that order, as data of the same class."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        part = type(self)([tensor[chosen] for tensor in self.tensors], self.class_names)
        part.source = f"a part of {self.source.removeprefix('a part of ')}" if self.source else ""
        return part


class ArrayData(TensorData):
    """Inputs with one integer label each.

    Args:
        tensors: Inputs (n, channels, height, width) or (n, features), and labels (n,) int64.
        class_names: Class names in the order of the labels.

    Raises:
        DataError: As `TensorData`; also for labels that are no integers, negative or beyond the class names,
            and for inputs that are not finite.
    """

    def __init__(self, tensors: Sequence[Tensor], class_names: Sequence[str] = ()) -> None:
        if len(tensors) != 2:
            raise DataError("labelled data", asked=f"{len(tensors)} fields", allowed="inputs and labels")
        super().__init__([tensors[0], as_labels(tensors[1], len(class_names))], class_names)
        check_finite_inputs(self.inputs)

    @property
    def inputs(self) -> Tensor:
        """The preprocessed inputs, (n, channels, height, width) or (n, features)."""
        return self.tensors[0]

    @property
    def labels(self) -> Tensor:
        """The labels, (n,) int64."""
        return self.tensors[1]

    def for_classes(self, class_names: Sequence[str]) -> ArrayData:
        """Return the samples of some classes, numbered anew; all others as the last where that is called "other".

        Raises:
            DataError: A class is not there, or has no samples.
        """
        wanted, there = tuple(class_names), self.class_names
        if not wanted or not is_part(wanted, there):
            raise DataError("classes of the data", asked=", ".join(wanted), allowed=", ".join(there))
        numbers = [
            wanted.index(name) if name in wanted else wanted.index(OTHER) if OTHER in wanted else -1 for name in there
        ]
        labels = torch.tensor(numbers)[self.labels]
        kept = labels >= 0
        if not bool(kept.any()):
            raise DataError("classes of the data", asked=", ".join(wanted), allowed="classes with samples")
        part = ArrayData([self.inputs[kept], labels[kept]], wanted)
        part.source = f"{self.source}, classes {', '.join(wanted)}".removeprefix(", ")
        part.origin = self.origin or self.fingerprint
        return part

    @property
    def counts(self) -> dict[str, int]:
        """Samples per class, by class name (or number, where there are no names)."""
        size = max(len(self.class_names), int(self.labels.max()) + 1)
        names = self.class_names or tuple(map(str, range(size)))
        return dict(zip(names, torch.bincount(self.labels, minlength=size).tolist(), strict=True))


OTHER = "other"
"""Name of the class that stands for all classes not named."""


def open_data(
    text: str | Path,
    *,
    preprocess: Preprocess,
    class_names: Sequence[str] = (),
    progress: Progress = no_progress,
) -> ArrayData:
    """Return labelled data from a file, ready for a network.

    Args:
        text: "file.npz", "file.parquet", "file.csv", a folder of one folder of images per class, or
            "zoo:digits"; with a selection after an at sign: "file.npz@part=calibration",
            "file.parquet@split=train", "zoo:digits@validation".
        preprocess: What raw inputs go through: `(raw * scale - mean) / std`.
        class_names: Class names the labels must agree with; none to take those of the file. Where they are some of the
            file's, only samples of those are taken; where the last is "other", all others are of that class.
        progress: Called with what is being done and the share done, 0 to 1.

    Raises:
        DataError: The file is missing, damaged, empty or of unknown kind; the selection does not exist;
            images differ in size; labels are no class numbers; a class has no samples; inputs are not finite.
    """
    raw = read(str(text), tuple(class_names), progress)
    wanted, there = tuple(class_names), raw.class_names
    if wanted and there and wanted != there and not is_part(wanted, there):
        raise DataError(
            f"class names of {str(text)!r} differ from the network's", asked=", ".join(there), allowed=", ".join(wanted)
        )
    data = ArrayData([prepare(raw, preprocess), torch.from_numpy(raw.labels)], there or wanted)
    data.source = source_label(str(text))
    _check_classes_present(data, str(text))
    return data if wanted in ((), there) or not there else data.for_classes(wanted)


def is_part(wanted: Sequence[str], there: Sequence[str]) -> bool:
    """Return whether class names are some of others, the last of them maybe "other", which stands for the rest.

    Example:
        >>> is_part(["dog", "other"], ["cat", "dog", "bird"]), is_part(["dog", "fox"], ["cat", "dog", "bird"])
        (True, False)
    """
    if len(set(wanted) - {OTHER}) >= len(there):
        return False
    return set(wanted[:-1]) <= set(there) and (wanted[-1] in there or (wanted[-1] == OTHER and len(wanted) > 1))


def source_label(text: str) -> str:
    """Return what data is opened from without the folder, which tells of a machine and nothing of the data."""
    place, at, selection = text.rpartition("@")
    return f"{Path(place).name}{at}{selection}" if at and "/" not in selection else Path(text).name


def batches(
    data: Any, batch_size: int, *, generator: torch.Generator | None = None, drop_last: bool = False
) -> Iterator[tuple[Tensor, ...]]:
    """Yield `data` in batches: in order, or shuffled by `generator`.

    Args:
        data: `TensorData`, or anything `as_data` takes.
        batch_size: Samples per batch; the last batch may be smaller.
        generator: Source of the shuffle; none keeps the order and yields views.
        drop_last: Whether to leave out a last batch that is smaller.

    Raises:
        DataError: The batch size is below 1, or nothing is left after `drop_last`.
    """
    held = as_data(data)
    if batch_size < 1:
        raise DataError("batch size", asked=str(batch_size), allowed="1 or more")
    if drop_last and len(held) < batch_size:
        raise DataError("batch size", asked=str(batch_size), allowed=f"up to the {len(held)} samples there are")
    end = len(held) - len(held) % batch_size if drop_last else len(held)
    order = None if generator is None else torch.randperm(len(held), generator=generator)
    return _cut(held.tensors, order, batch_size, end)


def _cut(tensors: tuple[Tensor, ...], order: Tensor | None, batch_size: int, end: int) -> Iterator[tuple[Tensor, ...]]:
    for start in range(0, end, batch_size):
        stop = min(start + batch_size, end)
        if order is None:
            yield tuple(tensor[start:stop] for tensor in tensors)
        else:
            yield tuple(tensor.index_select(0, order[start:stop]) for tensor in tensors)


def as_data(source: Any, class_names: Sequence[str] = ()) -> TensorData:
    """Return any training data as tensors in memory.

    Args:
        source: `TensorData` (returned as it is), a torch Dataset of samples, or an iterable of batches; samples
            and batches are tuples of tensors, or of what `torch.as_tensor` takes.
        class_names: Class names in the order of the labels, where there are classes.

    Returns:
        `ArrayData` for inputs and one integer label each, `TensorData` otherwise.

    Raises:
        DataError: The samples differ in shape, are no tuples, are too many for memory, or there are none.
    """
    if isinstance(source, TensorData):
        return source
    columns = materialise(source)
    if len(columns) == 2 and columns[1].dim() == 1 and not columns[1].is_floating_point():
        return ArrayData(columns, class_names)
    return TensorData(columns, class_names)


def check_fits(data: TensorData, core: Core) -> None:
    """Refuse data that the core cannot take.

    Raises:
        DataError: Inputs have another shape than the core's example inputs, the network does not run on them,
            or a label is beyond its outputs.
    """
    if not isinstance(data, ArrayData):
        return
    shape, wanted = tuple(data.inputs.shape[1:]), tuple(core.example_inputs[0].shape[1:])
    same_size = data.inputs[0].numel() == core.example_inputs[0][0].numel()
    reads_ids = not core.example_inputs[0].is_floating_point() and len(shape) == len(wanted)
    try:
        with torch.no_grad():
            outputs = core.module(data.inputs[:2]) if shape == wanted or same_size or reads_ids else None
    except Exception as error:  # a user's forward may raise anything: it is reported as the cause
        raise DataError("the network does not run on the data", asked=str(error).split("\n")[0]) from error
    if outputs is None:
        raise DataError("inputs of the data do not fit the network", asked=f"shape {shape} each", allowed=f"{wanted}")
    top = int(data.labels.max())
    if core.task == "classification" and top >= outputs.shape[-1]:
        raise DataError("labels of the data", asked=str(top), allowed=f"0 to {outputs.shape[-1] - 1}")


def _check_classes_present(data: ArrayData, text: str) -> None:
    missing = [name for name, count in data.counts.items() if not count]
    if missing:
        counts = ", ".join(f"{name} {count}" for name, count in data.counts.items())
        raise DataError(f"classes without samples in {text!r}: {', '.join(missing)}", asked=counts)
