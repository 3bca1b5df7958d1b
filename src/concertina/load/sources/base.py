"""What a data file is read into, and the kinds of files there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concertina.errors import DataError, how_to_install
from concertina.registry import Registry

Progress = Callable[[str, float], None]
"""Called with what is being done and the share done, 0 to 1."""

INPUT_NAMES = ("images", "image", "inputs", "features", "x", "data", "img")
LABEL_NAMES = ("labels", "label", "y", "target", "targets")


@dataclass(frozen=True, eq=False)
class Raw:
    """Inputs and labels as a file holds them."""

    inputs: NDArray[Any]
    """Images (n, height, width, channels) or (n, channels, height, width), or features (n, features)."""
    labels: NDArray[Any]
    """Class numbers, (n,)."""
    class_names: tuple[str, ...] = ()
    """Class names in the order of the labels, where the file has them."""
    channels_last: bool = False
    """Whether images have their channels last."""


_TORCH_KNOWS = ("=u1", "=i1", "=i2", "=i4", "=i8", "=f2", "=f4", "=f8", "=?")

Reader = Callable[[str, Mapping[str, str], tuple[str, ...], Progress], Raw]
"""Reads (path, selection, class names of the network, progress)."""

SOURCES: Registry[Reader] = Registry("data source")


def no_progress(doing: str, share: float) -> None:
    """Report nothing."""


def need(module: str, package: str, extra: str) -> Any:
    """Return an optional module, or say how to install it.

    Raises:
        DataError: The module is not installed; the text tells how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"this data needs {package}, which is not installed",
            do=how_to_install(extra),
        ) from error


def pick(names: Sequence[str], wanted: Sequence[str], what: str, where: str) -> str:
    """Return the one name among `names` that is a usual one for `what`.

    Raises:
        DataError: There is none.
    """
    for name in wanted:
        if name in names:
            return name
    raise DataError(f"{where} has no {what}", asked=", ".join(names) or "nothing", allowed=" or ".join(wanted))


def rows_where(columns: Mapping[str, NDArray[Any]], selection: Mapping[str, str], where: str) -> NDArray[np.bool_]:
    """Return which rows have all the values selected.

    Args:
        columns: Column name -> values (n,), for every column named in `selection` that exists.
        selection: Column name -> value asked for, as text.
        where: The file, for messages.

    Raises:
        DataError: A column does not exist, or no row has the value; the text lists the values there are.
    """
    chosen: NDArray[np.bool_] | None = None
    for name, value in selection.items():
        if name not in columns:
            raise DataError(f"{where} has no field {name!r}", allowed=", ".join(columns) or "no selection")
        texts = columns[name].astype(str)
        if not (texts == value).any():
            values, counts = np.unique(texts, return_counts=True)
            there = ", ".join(f"{v} ({c})" for v, c in list(zip(values, counts, strict=True))[:8])
            raise DataError(f"field {name!r} of {where}", asked=value, allowed=there)
        chosen = texts == value if chosen is None else chosen & (texts == value)
    if chosen is None:
        raise DataError(f"{where} needs a selection")
    return chosen


def numbered_labels(labels: NDArray[Any], known: tuple[str, ...], where: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return labels as class numbers with class names; text labels are numbered.

    Args:
        labels: Class numbers or class names, (n,).
        known: Class names of the network, which fix the numbers; empty for sorted order.
        where: The file, for messages.

    Raises:
        DataError: A label is none of the known class names.
    """
    if labels.dtype.kind == "O" and not all(isinstance(label, str) for label in labels.tolist()):
        raise DataError(f"labels of {where}", asked="missing or mixed values", allowed="all numbers or all texts")
    if labels.dtype.kind in "biu":
        return labels.astype(np.int64), ()
    if labels.dtype.kind not in "USO":
        return labels.astype(np.float64), ()
    texts = labels.astype(str)
    names = known or tuple(sorted(set(texts.tolist())))
    number = {name: index for index, name in enumerate(names)}
    strange = sorted(set(texts.tolist()) - number.keys())
    if strange:
        raise DataError(f"labels of {where}", asked=", ".join(strange[:8]), allowed=", ".join(names))
    return np.array([number[text] for text in texts.tolist()], dtype=np.int64), names


def has_channels_last(shape: Sequence[int], dtype: np.dtype[Any]) -> bool:
    """Return whether images of `shape` (n, a, b, c) have their channels last; in doubt, uint8 says yes."""
    last, second = shape[-1] in (1, 3, 4), shape[1] in (1, 3, 4)
    return last and (not second or dtype == np.uint8)


def as_images(inputs: NDArray[Any], where: str) -> tuple[NDArray[Any], bool]:
    """Return inputs of 2, 3 or 4 dims as features or images, and whether channels are last.

    Raises:
        DataError: The inputs are no numbers or have another number of dims.
    """
    if inputs.dtype.kind not in "buif":
        raise DataError(f"inputs of {where}", asked=str(inputs.dtype), allowed="numbers")
    if inputs.dtype not in _TORCH_KNOWS:
        inputs = inputs.astype(np.float32 if inputs.dtype.kind == "f" else np.int64)
    if inputs.ndim == 3:
        return inputs[:, None], False
    if inputs.ndim in (2, 4):
        return inputs, inputs.ndim == 4 and has_channels_last(inputs.shape, inputs.dtype)
    raise DataError(f"inputs of {where}", asked=f"shape {inputs.shape}", allowed="2, 3 or 4 dims")
