"""Which classes are taken for which: one shaded table for the smallest network and one for the largest."""

from __future__ import annotations

from dataclasses import dataclass

from concertina.measure.confusion import pair
from concertina.report import wording
from concertina.report.audited import audited_records
from concertina.report.figures import CORE, ReportData
from concertina.report.recalls import Cell
from concertina.types import Record

MAX_SIDE = 20
"""Most classes of a table; of more none is shown."""


@dataclass(frozen=True)
class Confusions:
    """What one network answers to samples of each class."""

    point: str
    classes: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    """(class of the samples, a cell for each class answered, None where there is no such answer)."""


def confusions(data: ReportData) -> list[Confusions]:
    """Return the tables of the smallest and the largest network whose confusions were audited; none for many classes.

    Args:
        data: What the report is made from.
    """
    names = tuple(data.class_names)
    found = {(r.spec, r.metric, r.scope): r for r in audited_records(data) if r.metric in ("confused", "recall")}
    audited = {spec for spec, metric, _ in found if metric == "confused"}
    specs = [(point.name, point.spec.text) for point in sorted(data.points, key=lambda point: point.macs)]
    specs = [(name, spec) for name, spec in [*specs, (CORE, CORE)] if spec in audited]
    if not specs or not 1 < len(names) <= MAX_SIDE:
        return []
    ends = specs[:1] + (specs[-1:] if len(specs) > 1 else [])
    return [Confusions(name, names, tuple(_line(found, spec, own, names) for own in names)) for name, spec in ends]


def _line(
    found: dict[tuple[str, str, str], Record], spec: str, own: str, names: tuple[str, ...]
) -> tuple[str, tuple[Cell | None, ...]]:
    cells = []
    for other in names:
        right = own == other
        record = found.get((spec, "recall", own) if right else (spec, "confused", pair(own, other)))
        cells.append(None if record is None else _cell(record, right=right))
    return own, tuple(cells)


def _cell(record: Record, *, right: bool) -> Cell:
    """Return a cell; mistakes are the darker the more frequent, from 20% on as dark as can be."""
    heat = 0 if right else min(10, max(1, round(50 * min(1.0, max(0.0, record.value)))))
    return Cell(wording.value(record), heat, f"{wording.interval(record)}, n = {record.n}")
