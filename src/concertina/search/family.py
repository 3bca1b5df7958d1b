"""What a search needs of a family, whatever else the family can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from concertina.nest import Supernet
from concertina.objective.base import Task
from concertina.types import Core, Point, Record, SubnetSpec


class Searchable(Protocol):
    """A family as a search sees it; `family.Family` is one."""

    core: Core
    supernet: Supernet
    task: Task

    @property
    def points(self) -> Sequence[Point]:
        """The operating points that are here, smallest first."""

    def keep(self, share: SubnetSpec, *, calibrate: Any, validation: Any = None, name: str = "") -> Point:
        """Make a spec an operating point, calibrated and measured."""

    def add_records(self, records: Sequence[Record]) -> None:
        """Add Records."""
