"""Data from tables: parquet and csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concertina.errors import DataError
from concertina.load.pixels import decode
from concertina.load.sources.base import (
    INPUT_NAMES,
    LABEL_NAMES,
    SOURCES,
    Progress,
    Raw,
    as_images,
    need,
    numbered_labels,
    pick,
    rows_where,
)


@SOURCES.register("parquet", source="ours")
def read_parquet(path: str, selection: Mapping[str, str], class_names: tuple[str, ...], progress: Progress) -> Raw:
    """Read a label column with an image column (encoded files) or numeric feature columns."""
    table = _parquet_table(path, selection)
    names = list(table.column_names)
    label = pick(names, LABEL_NAMES, "label column", path)
    labels, text_names = numbered_labels(np.asarray(table[label].to_pylist()), class_names, path)
    images = [name for name in INPUT_NAMES if name in names]
    if images:
        inputs = _cells(table[images[0]].to_pylist(), f"{path}, column {images[0]!r}", progress)
    else:
        features = [name for name in names if name != label and name not in selection]
        inputs = _features({name: table[name].to_pylist() for name in features}, path)
    inputs, channels_last = as_images(inputs, path)
    return Raw(inputs, labels, text_names, channels_last)


def _parquet_table(path: str, selection: Mapping[str, str]) -> Any:
    """Return the rows of a parquet file that a selection names."""
    parquet = need("pyarrow.parquet", "pyarrow", "data")
    arrow = need("pyarrow", "pyarrow", "data")
    try:
        table = parquet.read_table(path)
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"{path!r} is no sound parquet file", asked=str(error).split("\n")[0]) from error
    if not selection:
        return table
    unknown = [name for name in selection if name not in table.column_names]
    if unknown:
        raise DataError(f"{path} has no column {unknown[0]!r} to select by", allowed=", ".join(table.column_names))
    rows = rows_where({name: np.asarray(table[name].to_pylist()) for name in selection}, selection, path)
    return table.filter(arrow.array(rows))


def columns_of(path: str, selection: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the columns of a parquet or csv file, the rows that a selection names; cells of csv files are texts.

    Raises:
        DataError: The file is missing, damaged or of another kind, or the selection does not exist.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".parquet", ".csv") or not Path(path).is_file():
        asked = "no such file" if suffix in (".parquet", ".csv") else f"kind {suffix or 'none'!r}"
        raise DataError(f"data {path!r}", asked=asked, allowed=".parquet, .csv, .txt")
    if suffix == ".parquet":
        table = _parquet_table(path, selection)
        return {name: table[name].to_pylist() for name in table.column_names}
    return {name: column.tolist() for name, column in _csv_columns(path, selection).items()}


@SOURCES.register("csv", source="ours")
def read_csv(path: str, selection: Mapping[str, str], class_names: tuple[str, ...], progress: Progress) -> Raw:
    """Read a header line, a label column and numeric feature columns."""
    progress("reading", 0.0)
    columns = _csv_columns(path, selection)
    label = pick(list(columns), LABEL_NAMES, "label column", path)
    features = {name: column for name, column in columns.items() if name != label and name not in selection}
    labels, text_names = numbered_labels(_numbers_or_texts(columns[label]), class_names, path)
    progress("reading", 1.0)
    return Raw(_features(features, path), labels, text_names)


def _csv_columns(path: str, selection: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Return the columns of a csv file as texts, the rows that a selection names."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path!r} is no sound csv file", asked=str(error)) from error
    if len(lines) < 2:
        raise DataError(f"{path!r} has no samples", allowed="a header line, then one line a sample")
    header = lines[0]
    uneven = next((number for number, line in enumerate(lines, 1) if len(line) != len(header)), None)
    if uneven:
        raise DataError(f"line {uneven} of {path}", asked=f"{len(lines[uneven - 1])} fields", allowed=f"{len(header)}")
    columns = {name: np.array(column) for name, column in zip(header, zip(*lines[1:], strict=True), strict=True)}
    if selection:
        rows = rows_where(columns, selection, path)
        columns = {name: column[rows] for name, column in columns.items()}
    return columns


def _cells(cells: Sequence[Any], where: str, progress: Progress) -> NDArray[Any]:
    """Return image cells as one array: encoded bytes, dicts with `bytes`, or nested lists of numbers."""
    cells = [cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells]
    if cells and all(isinstance(cell, bytes) for cell in cells):
        return decode(((f"{where}, row {row}", cell) for row, cell in enumerate(cells)), len(cells), progress)
    try:
        return np.asarray(cells, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(where, asked=str(error), allowed="encoded images, or lists of numbers of one length") from error


def _features(columns: Mapping[str, Any], path: str) -> NDArray[Any]:
    """Return numeric columns side by side, (n, columns) float32."""
    if not columns:
        raise DataError(f"{path} has no feature columns")
    stacked = []
    for name, column in columns.items():
        try:
            stacked.append(np.asarray(column, dtype=np.float64).astype(np.float32))
        except (TypeError, ValueError) as error:
            raise DataError(f"column {name!r} of {path}", asked=str(error), allowed="numbers") from error
    return np.stack(stacked, axis=1)


def _numbers_or_texts(column: NDArray[Any]) -> NDArray[Any]:
    """Return a text column as numbers where all of it are numbers."""
    try:
        return column.astype(np.float64)
    except ValueError:
        return column
