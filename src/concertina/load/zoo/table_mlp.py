"""A multilayer perceptron for tables, which knows the columns it reads."""

from __future__ import annotations

from collections.abc import Sequence

from concertina.load.columns import columns_from
from concertina.load.zoo.base import ZOO, ZooNetwork
from concertina.load.zoo.mlp import MLP
from concertina.types import Preprocess

PLAIN = 16
"""Numbers that it reads when no columns are told."""


class TableMLP(MLP):
    """Multilayer perceptron for tables: linear layers with ReLU between them, and the columns that it reads as data.

    Args:
        columns: What `Columns.text` gives, in JSON, of which the outputs are the classes; none for 16 numbers and 2.
        hidden: Width of each hidden layer.
    """

    def __init__(self, columns: str = "", hidden: Sequence[int] = (64, 64, 32)) -> None:
        super().__init__(_shape(columns), hidden, len(columns_from(columns).class_names) if columns else 2)


def _shape(columns: str, **_: object) -> tuple[int, ...]:
    return (columns_from(columns).width if columns else PLAIN,)


ZOO.register("table-mlp", source="ours", licence="Apache-2.0", year=2026)(ZooNetwork(TableMLP, _shape, Preprocess()))
