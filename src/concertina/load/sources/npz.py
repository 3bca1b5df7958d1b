"""Data from numpy's `.npz` files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concertina.errors import DataError
from concertina.load.sources.base import (
    INPUT_NAMES,
    LABEL_NAMES,
    SOURCES,
    Progress,
    Raw,
    as_images,
    numbered_labels,
    pick,
    rows_where,
)

_SPLITS = {"train": "train", "val": "val", "validation": "val", "dev": "val", "test": "test"}


@SOURCES.register("npz", source="ours")
def read_npz(path: str, selection: Mapping[str, str], class_names: tuple[str, ...], progress: Progress) -> Raw:
    """Read arrays `images` and `labels`, chosen by a text field or by a prefix such as `train_`."""
    progress("reading", 0.0)
    arrays = _arrays(path)
    prefix, rest = _prefix(arrays, selection, path)
    own = {name.removeprefix(prefix): name for name in arrays if name.startswith(prefix)}
    inputs = _array(arrays, own[pick(list(own), INPUT_NAMES, "inputs", path)], path)
    labels = _array(arrays, own[pick(list(own), LABEL_NAMES, "labels", path)], path)
    if inputs.ndim == 0 or labels.ndim != 1 or len(inputs) != len(labels):
        raise DataError(f"{path}: inputs and labels", asked=f"shapes {inputs.shape} and {labels.shape}")
    if rest:
        unknown = [name for name in rest if name not in own]
        if unknown:
            raise DataError(f"{path} has no field {unknown[0]!r} to select by", allowed=", ".join(own))
        columns = {name: _array(arrays, own[name], path) for name in rest}
        if any(values.shape != labels.shape for values in columns.values()):
            raise DataError(f"{path}: field {', '.join(rest)}", allowed=f"one value for each of {len(labels)} samples")
        rows = rows_where(columns, rest, path)
        inputs, labels = inputs[rows], labels[rows]
    names = tuple(_array(arrays, "class_names", path).astype(str).tolist()) if "class_names" in arrays else ()
    inputs, channels_last = as_images(inputs, path)
    labels, text_names = numbered_labels(labels, names or class_names, path)
    progress("reading", 1.0)
    return Raw(inputs, labels, names or text_names, channels_last)


def _arrays(path: str) -> Any:
    """Return the open archive: array name -> array, read when asked for."""
    try:
        arrays = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path!r} is no sound npz file", asked=str(error)) from error
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise DataError(f"{path!r} holds one array", allowed="an npz file with inputs and labels")
    return arrays


def _array(arrays: Any, name: str, path: str) -> NDArray[Any]:
    try:
        return arrays[name]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise DataError(f"array {name!r} of {path!r} cannot be read", asked=str(error)) from error


def _prefix(arrays: Any, selection: Mapping[str, str], path: str) -> tuple[str, dict[str, str]]:
    """Return the prefix of the arrays a split asks for, and what is left of the selection."""
    rest = dict(selection)
    splits = sorted({name.split("_")[0] for name in arrays if name.split("_")[0] in _SPLITS and "_" in name})
    if not splits or any(name in arrays for name in INPUT_NAMES):
        return "", rest
    asked = rest.pop("split", "")
    found = next((split for split in splits if asked and _SPLITS.get(asked) == _SPLITS[split]), None)
    if found is None:
        raise DataError(
            f"split of {path}", asked=asked or "none", allowed=", ".join(f"{path}@split={split}" for split in splits)
        )
    return f"{found}_", rest
