"""Columns of a table as plain data: which are inputs, how numbers are standardised, and which values texts have."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concertina.errors import DataError, InputError, some

MAX_VALUES = 256
"""Most values that a column of texts may have."""
MAX_WIDTH = 4096
"""Most inputs that all columns together may make."""
Fields = Mapping[str, NDArray[Any]]
"""Column name -> one number or text a sample, (n,)."""


@dataclass(frozen=True)
class Column:
    """One column: a number `(x - mean) / std`, or one input for each value of a text, 1 where the text is that."""

    name: str
    mean: float = 0.0
    std: float = 1.0
    values: tuple[str, ...] = ()
    """The texts there are; none for numbers."""

    @property
    def width(self) -> int:
        """How many inputs it makes."""
        return len(self.values) or 1

    def encoded(self, cells: NDArray[Any]) -> Tensor:
        """Return the inputs (n, width) float32 of cells (n,); a text that is none of the values is all zeros.

        Raises:
            DataError: There are no numbers where numbers are wanted, or NaN among them.
        """
        if self.values:
            places = {value: place for place, value in enumerate(self.values)}
            found = torch.tensor([places.get(str(cell), len(self.values)) for cell in cells.tolist()])
            return torch.nn.functional.one_hot(found, len(self.values) + 1)[:, :-1].float()
        return torch.from_numpy((_finite(self.name, cells) - self.mean) / self.std).float()[:, None]


@dataclass(frozen=True)
class Columns:
    """How rows of a table become a network's inputs and labels."""

    target: str
    """The column of labels."""
    class_names: tuple[str, ...]
    """Its values, in the order of the classes."""
    inputs: tuple[Column, ...]

    def __post_init__(self) -> None:
        """Refuse what no table can have.

        Raises:
            InputError: The text says what is wrong.
        """
        texts = [
            self.target,
            *self.class_names,
            *(c.name for c in self.inputs),
            *(v for c in self.inputs for v in c.values),
        ]
        if not all(isinstance(text, str) for text in texts):
            raise InputError("columns of a table", asked="names or values that are no texts", allowed="texts")
        names = [column.name for column in self.inputs]
        if not names or len({*names, self.target}) != len(names) + 1:
            raise InputError("columns of a table", asked=some(names) or "none", allowed="each once, and not the target")
        for column in self.inputs:
            numbers = [column.mean, column.std]
            if not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers) or not column.std:
                raise InputError(
                    f"column {column.name!r}", asked=str(numbers), allowed="a mean and a deviation above 0"
                )
        if self.width > MAX_WIDTH:
            raise InputError("inputs that the columns make", asked=str(self.width), allowed=f"up to {MAX_WIDTH:,}")

    @property
    def width(self) -> int:
        """How many inputs all columns make."""
        return sum(column.width for column in self.inputs)

    @property
    def places(self) -> dict[str, slice]:
        """Column name -> which inputs are its own."""
        ends = [0]
        for column in self.inputs:
            ends.append(ends[-1] + column.width)
        return {column.name: slice(*ends_) for column, ends_ in zip(self.inputs, pairwise(ends), strict=True)}

    @property
    def text(self) -> str:
        """All of it as JSON, from which `columns_from` makes it again."""
        inputs = [[c.name, list(c.values)] if c.values else [c.name, c.mean, c.std] for c in self.inputs]
        return json.dumps({"target": self.target, "classes": list(self.class_names), "inputs": inputs})

    def save(self, path: str | Path) -> None:
        """Write it to a JSON file, which `zoo:table-mlp@columns=FILE` reads."""
        Path(path).write_text(self.text + "\n", encoding="utf-8")

    def encoded(self, fields: Fields) -> Tensor:
        """Return the inputs (n, width) float32 of a table's columns.

        Raises:
            DataError: A column is missing, or holds something else than it did.
        """
        for column in self.inputs:
            check_there(column.name, fields)
        return torch.cat([column.encoded(fields[column.name]) for column in self.inputs], dim=1)

    def labels(self, fields: Fields) -> Tensor:
        """Return class numbers (n,) int64.

        Raises:
            DataError: There is no such column, or a value that is no class.
        """
        check_there(self.target, fields)
        return numbered(fields[self.target], self.class_names, f"column {self.target!r}")


def columns_from(text: str) -> Columns:
    """Return the columns that a JSON text tells of.

    Raises:
        InputError: It is no such text.
    """
    try:
        told = json.loads(text)
        inputs = tuple(
            Column(each[0], values=tuple(each[1])) if len(each) == 2 else Column(each[0], each[1], each[2])
            for each in told["inputs"]
        )
        return Columns(told["target"], tuple(told["classes"]), inputs)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("columns of a table", asked=text[:60], allowed="JSON as Columns.text gives it") from error


def columns_of_fields(fields: Fields, target: str, leave_out: Sequence[str] = ()) -> Columns:
    """Return columns with the statistics of a table: numbers standardised, texts by their values.

    Args:
        fields: Training data.
        target: The column of labels.
        leave_out: Columns that are no inputs.

    Raises:
        DataError: There is no such column, or one holds too many texts, NaN, or a single class.
    """
    for name in (target, *leave_out):
        check_there(name, fields)
    classes = values_of(fields[target])
    if len(classes) < 2:
        raise DataError(f"column {target!r} as target", asked=some(classes), allowed="two values or more")
    if len(classes) > MAX_VALUES:
        raise DataError(f"column {target!r} as target", asked=f"{len(classes)} values", allowed=f"up to {MAX_VALUES}")
    names = [name for name in fields if name != target and name not in leave_out]
    return Columns(target, classes, tuple(_column(name, fields[name]) for name in names))


def values_of(cells: NDArray[Any]) -> tuple[str, ...]:
    """Return the values of a column as texts: numbers by size, texts by the alphabet."""
    return tuple(str(value) for value in np.unique(cells.astype(str) if cells.dtype.kind in "OUS" else cells).tolist())


def numbered(cells: NDArray[Any], values: Sequence[str], where: str) -> Tensor:
    """Return the number of each cell's value, (n,) int64.

    Raises:
        DataError: A cell holds something else.
    """
    places = {value: place for place, value in enumerate(values)}
    texts = [str(cell) for cell in cells.tolist()]
    strange = sorted(set(texts) - places.keys())
    if strange:
        raise DataError(where, asked=some(strange), allowed=some(values))
    return torch.tensor([places[text] for text in texts], dtype=torch.int64)


def check_there(name: str, fields: Mapping[str, Any]) -> None:
    """Refuse a column that is not there.

    Raises:
        DataError: The text names those there are.
    """
    if name not in fields:
        raise DataError("column of the table", asked=repr(name), allowed=some(fields) or "none: the data is no table")


def _column(name: str, cells: NDArray[Any]) -> Column:
    if cells.dtype.kind not in "OUS":
        numbers = _finite(name, cells)
        return Column(name, float(numbers.mean()), float(numbers.std()) or 1.0)
    values = values_of(cells)
    if len(values) > MAX_VALUES:
        do = "Leave it out, or group its values."
        raise DataError(f"column {name!r}", asked=f"{len(values)} texts", allowed=f"up to {MAX_VALUES}", do=do)
    return Column(name, values=values)


def _finite(name: str, cells: NDArray[Any]) -> NDArray[np.float64]:
    try:
        numbers = cells.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {name!r}", asked=str(error), allowed="numbers") from error
    if not np.isfinite(numbers).all():
        row = int((~np.isfinite(numbers)).argmax())
        raise DataError(f"column {name!r}, row {row}", asked=str(numbers[row]), allowed="finite numbers")
    return numbers
