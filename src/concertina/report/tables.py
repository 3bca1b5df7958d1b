"""The table of points for a terminal, coloured or plain."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from concertina.report import wording
from concertina.report.figures import ReportData, Row, Timing, Worst, rows
from concertina.types import Point, Record


def points_table(points: Sequence[Point], records: Sequence[Record], *, title: str = "") -> Table:
    """Return the table of points for a terminal; names are shown as they are, never read as markup.

    Args:
        points: The operating points, in any order.
        records: Their figures; what has no record shows as a dash.
        title: Line above the table.
    """
    heads, lines = _cells(points, records)
    table = Table(title=Text(wording.shown(title)) if title else None, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if place == 0 else "right", overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    return table


def points_lines(points: Sequence[Point], records: Sequence[Record]) -> list[str]:
    """Return the same table as plain lines of aligned columns, the heads first.

    Example:
        >>> points_lines([], [])
        ['point  MACs  share  params  size']
    """
    heads, lines = _cells(points, records)
    table = [heads, *lines]
    widths = [max(len(line[place]) for line in table) for place in range(len(heads))]
    return ["  ".join(_aligned(line, widths)).rstrip() for line in table]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = zip(cells, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]


def _cells(points: Sequence[Point], records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    data = ReportData("", points, records)
    found = rows(data)
    heads = ["point", "MACs", "share", "params", "size"]
    if data.figures.metric:
        heads += [wording.shown(data.figures.metric).replace("_", " "), "95% interval"]
    has_worst = any(row.worst for row in found)
    heads += ["worst class"] * has_worst
    heads += [f"ms p50 / p95 ({wording.shown(setting.label)})" for setting in data.figures.settings]
    return heads, [_line(row, has_metric=bool(data.figures.metric), has_worst=has_worst) for row in found]


def _line(row: Row, *, has_metric: bool, has_worst: bool) -> list[str]:
    cells = [wording.shown(row.name, 40), wording.count(row.macs), wording.percent(row.share)]
    cells += [wording.count(row.params), wording.count(row.size_bytes, "B")]
    if has_metric:
        cells += [wording.value(row.quality), wording.interval(row.quality) or wording.MISSING]
    if has_worst:
        cells.append(_worst(row.worst))
    return cells + [_timing(timing) for timing in row.timings]


def _worst(worst: Worst | None) -> str:
    if worst is None:
        return wording.MISSING
    return f"{wording.shown(worst.name, 24)} {wording.value(worst.record)}".strip()


def _timing(timing: Timing | None) -> str:
    if timing is None:
        return wording.MISSING
    return f"{wording.value(timing.median)} / {wording.value(timing.p95)} {timing.marks}".rstrip()
