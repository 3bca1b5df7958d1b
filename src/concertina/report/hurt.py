"""The classes that shrinking hurts most, as bars: recall at every point beside that of the largest network measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from concertina.report import wording
from concertina.report.figures import ReportData, Row

MAX_HURT = 8
"""Classes shown, those that lose most at the smallest point."""


@dataclass(frozen=True)
class Bar:
    """Recall of one class at one point."""

    point: str
    percent: int
    """Length of the bar, 0 to 100."""
    text: str
    detail: str
    """Interval and count."""


@dataclass(frozen=True)
class HurtClass:
    """One class, with how much it loses."""

    name: str
    lost: str
    """Loss of recall from the largest to the smallest network, in points of percent."""
    bars: tuple[Bar, ...]


def hurt_classes(data: ReportData, rows: list[Row], limit: int = MAX_HURT) -> tuple[HurtClass, ...]:
    """Return the classes that lose most recall from the largest to the smallest network, worst first; none that gain.

    Args:
        data: What the report is made from.
        rows: The points, smallest first, and the core last where it was measured.
        limit: Most classes.
    """
    figures, found = data.figures, []
    for name in figures.classes:
        recalls = [(row.name, figures.get(row.spec, "recall", name)) for row in rows]
        told = [(point, record) for point, record in recalls if record is not None and math.isfinite(record.value)]
        if len(told) < 2 or told[0][1].value >= told[-1][1].value:
            continue
        lost = told[-1][1].value - told[0][1].value
        bars = tuple(
            Bar(
                point,
                round(100 * min(1.0, max(0.0, record.value))),
                wording.value(record),
                f"{wording.interval(record)}, n = {record.n}",
            )
            for point, record in told
        )
        found.append((lost, HurtClass(name, f"{100 * min(lost, 1.0):.1f}", bars)))
    found.sort(key=lambda one: -one[0])
    return tuple(hurt for _, hurt in found[:limit])
