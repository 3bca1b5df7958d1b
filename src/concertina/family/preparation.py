"""A family before its training."""

from __future__ import annotations

from dataclasses import dataclass

from concertina.family.family import Family
from concertina.load.data import TensorData
from concertina.nest import Supernet
from concertina.objective.base import Task
from concertina.train import Teacher


@dataclass
class Preparation:
    """A family before training: what `prepare` made, and the data it will be trained on."""

    family: Family
    supernet: Supernet
    task: Task
    train_data: TensorData
    facts: dict[str, str]
    """How the growth order came about, for the provenance."""
    teacher: Teacher | None = None
    """What teaches; the supernet as it is unless given, which a family that was trained before needs."""
