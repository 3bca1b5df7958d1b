"""What was measured of a family, and what the functions around a family need of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import nn

from concertina.load.data import TensorData
from concertina.nest import Supernet
from concertina.objective.base import Task
from concertina.types import ClassScores, Core, Point, Record

CORE = "core"
"""What stands in the place of a spec in Records of the core."""


@dataclass(frozen=True)
class Evidence:
    """What was measured and what it was measured against; travels with the family."""

    records: tuple[Record, ...] = ()
    core_predictions: tuple[int, ...] = ()
    """The core's predicted classes on the evaluation set, in its order."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """How the family came about: recipe, epochs, seeds, data fingerprints, cost."""
    class_scores: ClassScores | None = None
    """How important each unit is for each class, where that was asked for."""

    def __repr__(self) -> str:
        return f"Evidence({len(self.records)} records, {len(self.core_predictions)} predictions of the core)"

    def without_scope(self, scope: str) -> Evidence:
        """Return this evidence without the Records of a scope: what they were measured of is gone."""
        return replace(self, records=tuple(record for record in self.records if record.scope != scope))

    def with_records(self, records: Sequence[Record]) -> Evidence:
        """Return this evidence with more Records; one of the same spec, metric, scope, machine and data gives way.

        The latest stand last.
        """
        fresh = {_key(record): record for record in records}
        kept = [record for record in self.records if _key(record) not in fresh]
        return replace(self, records=(*kept, *fresh.values()))


def _key(record: Record) -> tuple[str, ...]:
    return (record.spec, record.metric, record.scope, record.machine, record.data)


class Measurable(Protocol):
    """What a family is to whoever measures or exports its points."""

    core: Core
    supernet: Supernet
    task: Task
    evidence: Evidence

    @property
    def points(self) -> Sequence[Point]:
        """The operating points that are here, smallest first."""

    @property
    def records(self) -> tuple[Record, ...]:
        """Every measured figure."""

    def view(self, name: str) -> nn.Module:
        """Return the resident view of an operating point."""

    def add_records(self, records: Sequence[Record]) -> None:
        """Add Records."""


def core_predictions_on(family: Measurable, data: TensorData, new: Sequence[Record] = ()) -> tuple[int, ...] | None:
    """Return the core's predicted classes on this data, in its order; None where they are not known.

    Args:
        family: The family.
        data: The data.
        new: Records that have just been measured and are not the family's yet.
    """
    known = family.evidence.core_predictions
    measured_on = [record.data for record in (*family.records, *new) if record.spec == CORE]
    return known if measured_on[-1:] == [data.fingerprint] and len(known) == len(data) else None


def core_figures(points: Sequence[Point], records: Sequence[Record]) -> dict[str, float]:
    """Return the core's figures for the metrics that stand beside the points, measured on the same data as they.

    Args:
        points: Operating points with their headline figures.
        records: All Records.

    Returns:
        Metric -> value; empty where the core was not measured on that data, or the points on several.
    """
    latest = {(r.spec, r.metric, r.data): r.value for r in records if not r.scope}
    shown = [(point.spec.text, metric, value) for point in points for metric, value in point.metrics]
    metrics = dict.fromkeys(metric for _, metric, _ in shown)
    for data in dict.fromkeys(data for spec, _, data in reversed(latest) if spec == CORE):
        if all(latest.get((spec, metric, data)) == value for spec, metric, value in shown):
            return {metric: latest[CORE, metric, data] for metric in metrics if (CORE, metric, data) in latest}
    return {}
