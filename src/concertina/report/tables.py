"""The table of points for a terminal: what was measured, a line a point."""

from __future__ import annotations

from collections.abc import Sequence

from concertina.report import wording
from concertina.report.figures import ReportData, Row, Timing, Worst, rows
from concertina.types import Point, Record

INTERVAL = "95% interval"


def points_table(points: Sequence[Point], records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Return titles and cells of the table of measured points, smallest first; names are safe to show.

    Args:
        points: The operating points, in any order.
        records: Their figures; a column is there for what one of them tells, and what has no record is a dash.

    Example:
        >>> points_table([], [])
        (['point', 'MACs', 'share'], [])
    """
    data = ReportData("", points, records)
    found = rows(data)
    has_worst = any(row.worst for row in found)
    titles = ["point", "MACs", "share"]
    if data.figures.metric:
        titles += [wording.shown(data.figures.metric).replace("_", " "), INTERVAL, "samples"]
    titles += ["worst class"] * has_worst
    titles += ["ms, median", INTERVAL, "ms, p95"] * len(data.figures.settings)
    return titles, [_line(row, has_metric=bool(data.figures.metric), has_worst=has_worst) for row in found]


def points_notes(records: Sequence[Record]) -> list[str]:
    """Return what is to be known of the columns of `points_table`: how latency was measured, and whether to trust it.

    Args:
        records: The figures of the points.
    """
    figures = ReportData("", (), records).figures
    notes = [f"ms: {wording.shown(setting.label)}" for setting in figures.settings]
    scopes = {word for record in records if record.metric == "latency_ms_median" for word in record.scope.split()}
    return notes + [meaning for mark, meaning in wording.MARKS.items() if mark in scopes]


def _line(row: Row, *, has_metric: bool, has_worst: bool) -> list[str]:
    cells = [wording.shown(row.name, 40), wording.whole(row.macs), wording.percent(row.share)]
    if has_metric:
        samples = wording.whole(row.quality.n) if row.quality else wording.MISSING
        cells += [wording.value(row.quality), wording.interval(row.quality) or wording.MISSING, samples]
    if has_worst:
        cells.append(_worst(row.worst))
    return cells + [cell for timing in row.timings for cell in _timing(timing)]


def _worst(worst: Worst | None) -> str:
    if worst is None:
        return wording.MISSING
    value = wording.value(worst.record)
    return f"{wording.shown(worst.name, 24)}: {value}" if worst.name else value


def _timing(timing: Timing | None) -> tuple[str, str, str]:
    if timing is None:
        return (wording.MISSING,) * 3
    interval = timing.marks or wording.interval(timing.median) or wording.MISSING
    return wording.value(timing.median), interval, wording.value(timing.p95)
