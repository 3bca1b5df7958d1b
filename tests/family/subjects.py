"""Families that several tests look at: made once, small, never changed (take `fresh` for one to change)."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import concertina as ct
from concertina.family import Family
from concertina.load.data import ArrayData


@cache
def digits(part: str = "train", count: int = 300) -> ArrayData:
    """Return some of the digits; the first `count` hold every class."""
    core = ct.load("zoo:digits-cnn")
    return ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess).subset(range(count))


@cache
def family() -> Family:
    """Return a family with the points p5, p20, p60 and p100, trained for one epoch, with Records."""
    return _fitted(points=(0.05, 0.2, 0.6), epochs=1, criterion="taylor")


@cache
def _fitted(**options: Any) -> Family:
    settings = {"points": (0.2,), "epochs": 0, "batch_size": 32, "criterion": "magnitude-l1"} | options
    return ct.fit(ct.load("zoo:digits-cnn"), digits(), digits("validation"), **settings)


def fresh(**options: Any) -> Family:
    """Return a family of its own, untrained unless told otherwise."""
    made = _fitted(**options)
    supernet = copy.deepcopy(made.supernet)
    return Family(made.core, supernet, graph=made.graph, evidence=made.evidence, task=made.task)
