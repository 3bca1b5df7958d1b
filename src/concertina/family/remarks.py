"""What a family's own figures say against it, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

from concertina.family.evidence import CORE
from concertina.objective.base import Metric
from concertina.types import Point, Record

CHANGE = "accuracy_change"
"""Metric of how much more often a point is right with a module than without; in brackets behind it, of which group."""


def remarks(points: Sequence[Point], records: Sequence[Record], metric: Metric) -> tuple[str, ...]:
    """Return what a user should know before trusting the family; nothing when there is nothing to say.

    The full point is below the core when each one's figure lies outside the other's 95% interval, on the same data.

    Args:
        points: Operating points.
        records: All Records.
        metric: The task's metric.
    """
    measured = {(r.spec, r.data): r for r in records if r.metric == metric.name and not r.scope}
    found = []
    for point in points:
        own = [record for (spec, _), record in measured.items() if spec == point.spec.text and point.share >= 1]
        found += [_below(point, r, measured[CORE, r.data], metric) for r in own if (CORE, r.data) in measured]
    return (*filter(None, found), *hurt_groups(points, records))


def hurt_groups(points: Sequence[Point], records: Sequence[Record]) -> tuple[str, ...]:
    """Return a sentence for each group that a module serves worse: the interval of its change lies below 0.

    Args:
        points: Operating points.
        records: All Records; those of other metrics are passed over.
    """
    names = {point.spec.text: point.name for point in points}
    return tuple(
        f"{record.scope} hurts {record.metric.removeprefix(CHANGE)[1:-1]} at point {names[record.spec]!r}: accuracy "
        f"{record.value:+.1%} (95% interval {record.low:+.1%} to {record.high:+.1%}, n={record.n}). "
        "Lower its strength, or train it longer."
        for record in records
        if record.metric.startswith(f"{CHANGE}[") and record.spec in names
        if record.low is not None and record.high is not None and record.high < 0
    )


def _below(point: Point, own: Record, core: Record, metric: Metric) -> str:
    """Return the sentence for a full point that is worse than the core, or nothing."""
    better, worse = (core, own) if metric.direction == "max" else (own, core)
    if worse.high is None or better.low is None or worse.high >= better.value or better.low <= worse.value:
        return ""
    low, high = (_figure(value, own.unit) for value in (own.low, own.high))
    return (
        f"point {point.name!r} has lost against the core: {metric.name} {_figure(own.value, own.unit)} "
        f"(95% interval {low} to {high}, n={own.n}) where the core has {_figure(core.value, own.unit)}. "
        "Train longer, with a lower learning rate, or with full_from_core=1."
    )


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if unit == "share" else f"{value:.4g}"
