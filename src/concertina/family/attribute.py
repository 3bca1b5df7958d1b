"""An attribute of samples: its values, and which sample has which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concertina.errors import DataError, InputError, some
from concertina.load.columns import check_there, values_of
from concertina.load.data import TensorData
from concertina.load.tabular import fields_of

FEWEST = 20
"""Samples of each value, at the least."""
MOST_VALUES = 20
"""Values of an attribute, at the most."""


@dataclass(frozen=True, eq=False)
class Attribute:
    """Values of samples, such as sex or age group."""

    name: str
    """The column, where it is one of a table."""
    values: tuple[str, ...]
    numbers: Tensor
    """Number of each sample's value, (n,) int64; -1 for samples whose value does not count."""

    @property
    def counts(self) -> list[int]:
        """Samples of each value."""
        return torch.bincount(self.numbers[self.numbers >= 0], minlength=len(self.values)).tolist()


def attribute_of(
    data: TensorData, given: str | Sequence[Any] | Tensor, name: str, values: Sequence[str] = ()
) -> Attribute:
    """Return an attribute of samples.

    Args:
        data: The samples.
        given: A column of the table that they were opened from, or one value a sample.
        name: What to call it where it is no column.
        values: The values that count; all there are unless said.

    Raises:
        InputError: It is the target of the task, or something else than values.
        DataError: There is no such column, it has NaN, one value or too many, a value has too few samples, or there
            are not as many as samples.
    """
    called = given if isinstance(given, str) else name
    cells = _column(data, given) if isinstance(given, str) else _cells(given, len(data))
    if cells.dtype.kind == "f" and not np.isfinite(cells).all():
        row = int((~np.isfinite(cells)).argmax())
        raise DataError(f"attribute {called!r}, sample {row}", asked=str(cells[row]), allowed="finite values")
    there = values_of(cells)
    wanted = tuple(map(str, values)) or there
    if isinstance(values, str) or not set(wanted) <= set(there) or len(set(wanted)) < len(wanted):
        raise DataError(f"values of attribute {called!r}", asked=some(map(repr, wanted)), allowed=some(there))
    if not 2 <= len(wanted) <= MOST_VALUES:
        do = "There is nothing to remove." if len(wanted) < 2 else "Group them, or name those that count with values=."
        allowed = f"2 to {MOST_VALUES}"
        raise DataError(f"values of attribute {called!r}", asked=f"{len(wanted)}", allowed=allowed, do=do)
    places = {value: place for place, value in enumerate(wanted)}
    found = Attribute(called, wanted, torch.tensor([places.get(str(cell), -1) for cell in cells.tolist()]))
    for value, count in zip(wanted, found.counts, strict=True):
        if count < FEWEST:
            do = "Group values, or name those that count with values=."
            where = f"samples of {called}={value}"
            raise DataError(where, asked=str(count), allowed=f"{FEWEST} or more", do=do)
    return found


def crossed(one: Attribute, other: Attribute) -> Attribute:
    """Return two attributes as one, whose values are the pairs that have enough samples.

    Args:
        one: An attribute of some samples.
        other: Another, of the same samples.
    """
    both = torch.where((one.numbers < 0) | (other.numbers < 0), -1, one.numbers * len(other.values) + other.numbers)
    pairs = [value for value in both[both >= 0].unique().tolist() if int((both == value).sum()) >= FEWEST]
    names = [f"{one.values[v // len(other.values)]}, {other.values[v % len(other.values)]}" for v in pairs]
    numbers = torch.full_like(both, -1)
    for place, value in enumerate(pairs):
        numbers[both == value] = place
    return Attribute(f"{one.name}, {other.name}", tuple(names), numbers)


def _column(data: TensorData, name: str) -> NDArray[Any]:
    fields = fields_of(data)
    if not fields:
        do = "Open it with open_table, or give one value a sample."
        raise InputError("attribute", asked=f"column {name!r} of data that is no table", allowed="values", do=do)
    check_there(name, fields)
    if name == getattr(data, "columns").target:  # noqa: B009 - a table has them
        raise InputError("attribute", asked=f"{name!r}, the target of the task", allowed="another column")
    return fields[name]


def _cells(given: Any, count: int) -> NDArray[Any]:
    cells = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if cells.ndim != 1 or cells.dtype.kind not in "biufUS":
        asked = f"{cells.dtype} of shape {cells.shape}"
        raise InputError("attribute", asked=asked, allowed="a column's name, or a number or text a sample")
    if len(cells) != count:
        raise DataError("values of the attribute", asked=str(len(cells)), allowed=f"{count}, one a sample")
    return cells
