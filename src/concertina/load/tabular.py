"""Tables of numbers and texts as labelled data: numbers standardised, texts as one input for each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concertina.errors import DataError
from concertina.load.columns import Columns, Fields, check_there, columns_of_fields
from concertina.load.data import ArrayData, source_label
from concertina.load.sources import selected
from concertina.load.sources.table import columns_of


class TableData(ArrayData):
    """Rows of a table as a network takes them, with the columns they were made from.

    Args:
        fields: Column name -> cells (n,), those that are no inputs too.
        columns: What becomes of them.

    Raises:
        DataError: A column is missing, or holds something else than `columns` says.
    """

    def __init__(self, fields: Fields, columns: Columns) -> None:
        super().__init__([columns.encoded(fields), columns.labels(fields)], columns.class_names)
        self.fields, self.columns = dict(fields), columns

    def column(self, name: str) -> NDArray[Any]:
        """Return the cells (n,) of a column, as they are in the table.

        Raises:
            DataError: There is no such column.
        """
        check_there(name, self.fields)
        return self.fields[name]

    def subset(self, indices: Sequence[int] | Tensor) -> Self:
        """Return the rows at `indices`, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        part = type(self)({name: cells[chosen.numpy()] for name, cells in self.fields.items()}, self.columns)
        part.source = f"a part of {self.source.removeprefix('a part of ')}" if self.source else ""
        return part


def open_table(
    text: str | Path, columns: Columns | None = None, *, target: str = "label", leave_out: Sequence[str] = ()
) -> TableData:
    """Return the rows of a parquet or csv file, ready for a network.

    Numbers are standardised, texts become one input for each of their values. What that takes is learnt from the
    training part, kept as plain data (`.columns`), and handed in again for every other part.

    Args:
        text: "file.parquet" or "file.csv", with a selection after an at sign: "adult.parquet@split=train".
        columns: Those of the training part; learnt from these rows unless given.
        target: The column of labels; not asked for where `columns` are given.
        leave_out: Columns that are no inputs; not asked for either. A column that rows are selected by is none.

    Raises:
        DataError: The file is missing or damaged, a column is not there, holds NaN or too many texts.
    """
    place, selection = selected(str(text))
    fields = {name: _cells(name, cells) for name, cells in columns_of(place, selection).items()}
    if not len(next(iter(fields.values()))):
        raise DataError(f"{place!r} has no rows")
    if columns is None:
        columns = columns_of_fields({k: v for k, v in fields.items() if k not in selection}, target, leave_out)
    data = TableData(fields, columns)
    data.source = source_label(str(text))
    return data


def _cells(name: str, cells: Sequence[Any]) -> NDArray[Any]:
    """Return a column as numbers where all of it are numbers, else as texts; what is missing is an empty text."""
    if all(isinstance(cell, bool | int | float) for cell in cells):
        return np.asarray(cells)
    if not all(cell is None or isinstance(cell, str) for cell in cells):
        raise DataError(f"column {name!r}", asked="missing or mixed cells", allowed="numbers, or texts")
    texts = np.asarray([cell or "" for cell in cells])
    numbers = [_is_number(text) for text in texts.tolist()]
    if all(numbers):
        return texts.astype(np.float64)
    empty = [row for row, text in enumerate(texts.tolist()) if not text]
    if any(numbers) and len(empty) + sum(numbers) == len(texts):
        asked = f"{len(empty)} empty cells among numbers, the first in row {empty[0]}"
        raise DataError(f"column {name!r}", asked=asked, allowed="numbers", do="Fill them, or leave the rows out.")
    return texts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def fields_of(data: Any) -> Mapping[str, NDArray[Any]]:
    """Return the columns of data that was opened from a table; none of other data."""
    return getattr(data, "fields", {})
