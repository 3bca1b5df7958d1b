"""Recall of every class at every point, as a table whose cells are shaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from concertina.report import wording
from concertina.report.figures import ReportData, Row

MAX_CLASSES = 30


@dataclass(frozen=True)
class Cell:
    """Recall of one class at one point."""

    text: str
    heat: int
    """0 for a recall of 100%, up to 10 for none at all."""
    detail: str
    """Interval and count."""


@dataclass(frozen=True)
class RecallTable:
    """Recall of the classes, one line each."""

    points: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    """(class name, cells in the order of `points`)."""
    hidden: int
    """Classes left out, all of them known better at every point than those shown."""


def recall_table(data: ReportData, rows: list[Row], limit: int = MAX_CLASSES) -> RecallTable | None:
    """Return the table of recalls, None where none was measured.

    Of more than `limit` classes those with the lowest recall at any point are shown.
    """
    figures = data.figures
    rows = [row for row in rows if row.worst is not None]
    known = [name for name in data.class_names if name in figures.classes]
    names = known + [name for name in figures.classes if name not in known]
    if not names:
        return None
    found = {name: [figures.get(row.spec, "recall", name) for row in rows] for name in names}
    lowest = {name: min((r.value for r in records if r), default=1.0) for name, records in found.items()}
    kept = set(sorted(names, key=lambda name: lowest[name])[:limit])
    lines = []
    for name in names:
        if name in kept:
            cells = [
                Cell(wording.value(r), _heat(r.value), f"{wording.interval(r)}, n = {r.n}") if r else None
                for r in found[name]
            ]
            lines.append((name, tuple(cells)))
    return RecallTable(tuple(row.name for row in rows), tuple(lines), len(names) - len(lines))


def _heat(recall: float) -> int:
    return round(10 * (1 - min(1.0, max(0.0, recall)))) if math.isfinite(recall) else 0
