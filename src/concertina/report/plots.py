"""Plots as SVG text: no scripts, no fonts, no files; colours follow a light or dark page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from concertina.report import wording
from concertina.report.figures import ReportData, core_macs
from concertina.report.labels import Box, along, place_labels
from concertina.report.scales import Scale, linear_range, linear_ticks, log_range, log_ticks
from concertina.types import Record

_SHAPES = ("circle", "square", "diamond", "triangle")
_DASHES = ("", "5 4", "2 3", "8 3 2 3")
MIN_SHARE, MAX_SHARE, MAX_VALUE = 1e-6, 100.0, 1e9
LEGEND_LINE = 18
"""Pixels from one line of the legend to the next."""
PLOT_STYLE = """
.ct-plot{color:#1c2430;font:12px system-ui,sans-serif}
.ct-0{color:#0b62b0}.ct-1{color:#c04f00}.ct-2{color:#007a5a}.ct-3{color:#a0358a}
@media(prefers-color-scheme:dark){
.ct-plot{color:#e6e9ee}.ct-0{color:#6cb6ff}.ct-1{color:#ffa657}.ct-2{color:#5fd3a8}.ct-3{color:#e79ad6}}
"""


@dataclass(frozen=True)
class _Mark:
    """One point of a series."""

    share: float
    value: float
    name: str = ""
    low: float | None = None
    high: float | None = None
    text: str = ""
    """What a reader sees who points at it."""


@dataclass(frozen=True)
class _Canvas:
    """Where things stand."""

    x: Scale
    y: Scale
    width: int
    height: int
    is_share: bool
    """Whether the headline figure is a share, to be shown in percent."""


def pareto_svg(data: ReportData, *, width: int = 720, height: int = 400, prefix: str = "pareto") -> str:
    """Return the headline figure against MACs, log scale, as one `<svg>` element; "" where nothing was measured.

    The family is a line of labelled points with 95% whiskers; every baseline is a line of its own.

    Args:
        data: The family's points and records, and other series.
        width: Pixels across.
        height: Pixels down.
        prefix: Start of the ids inside, to be different for every plot of a page.
    """
    series = _series(data)
    marks = [mark for _, found in series for mark in found]
    if not marks:
        return ""
    head = 18 + LEGEND_LINE * math.ceil(len(series) / _legend_columns(width))
    canvas = _canvas(data, marks, (width, height), head)
    summary = wording.shown(_summary(data, series, canvas), 1000)
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ct-plot" role="img" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" aria-labelledby="{prefix}-title {prefix}-desc">',
        f'<title id="{prefix}-title">{_xml(wording.title(data.figures.metric))} against MACs</title>',
        f'<desc id="{prefix}-desc">{_xml(summary)}</desc>',
        f"<style>{PLOT_STYLE}</style>",
        *_axes(data, canvas),
        *(line for place, (_, found) in enumerate(series) for line in _draw(found, place, canvas)),
        *_labels(series, canvas),
        *_legend([name for name, _ in series], canvas),
        "</svg>",
    ]
    return "\n".join(body) + "\n"


def _series(data: ReportData) -> list[tuple[str, list[_Mark]]]:
    """Return (name, marks) of the family and of each baseline; marks rise in their share of the MACs."""
    family = []
    for point in data.points:
        record = data.figures.quality(point.spec.text)
        if record is not None and _can_be_drawn(point.share, record.value):
            family.append(_Mark(point.share, record.value, point.name, *_ends(record), _told(record)))
    others = [
        (name, [_Mark(share, value) for share, value in pairs if _can_be_drawn(share, value)])
        for name, pairs in data.baselines.items()
    ]
    found = [("this family", family), *others]
    return [(name, sorted(marks, key=lambda mark: mark.share)) for name, marks in found if marks]


def _can_be_drawn(share: float, value: float) -> bool:
    """Return whether a point lies where an axis can reach; a damaged or hostile file may say anything."""
    return MIN_SHARE <= share <= MAX_SHARE and abs(value) <= MAX_VALUE


def _ends(record: Record) -> tuple[float | None, float | None]:
    """Return the interval of a record, none where it is not one."""
    low, high = record.low, record.high
    if low is None or high is None or not -MAX_VALUE <= low <= high <= MAX_VALUE:
        return None, None
    return low, high


def _told(record: Record) -> str:
    between = f" ({wording.interval(record)})" if wording.interval(record) else ""
    return f"{wording.value(record)}{between}, n = {record.n}"


def _canvas(data: ReportData, marks: Sequence[_Mark], size: tuple[int, int], head: int) -> _Canvas:
    width, height = size
    ends = [end for mark in marks for end in (mark.value, mark.low, mark.high) if end is not None]
    is_share = data.figures.unit == "share"
    low, high = linear_range(ends)
    x = Scale(*log_range([mark.share for mark in marks]), 52, width - 16, is_log=True)
    y = Scale(max(low, -0.02) if is_share else low, min(high, 1.03) if is_share else high, height - 54, head)
    return _Canvas(x, y, width, height, is_share)


def _axes(data: ReportData, canvas: _Canvas) -> Iterator[str]:
    left, right, bottom, top = canvas.x.start, canvas.x.end, canvas.y.start, canvas.y.end
    yield '<g stroke="currentColor" stroke-opacity=".16">'
    xs = log_ticks(canvas.x.low, canvas.x.high, max(3, canvas.width // 70))
    ys = linear_ticks(canvas.y.low, canvas.y.high, max(3, canvas.height // 45))
    yield from (f'<path d="M{canvas.x(tick):.1f} {bottom:.1f}V{top:.1f}"/>' for tick in xs)
    yield from (f'<path d="M{left:.1f} {canvas.y(tick):.1f}H{right:.1f}"/>' for tick in ys)
    yield f'</g><path d="M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}" fill="none" stroke="currentColor"/>'
    yield '<g fill="currentColor" font-size="11">'
    for tick in xs:
        yield f'<text x="{canvas.x(tick):.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{_tick(tick, True)}</text>'
    for tick in ys:
        text = _tick(tick, canvas.is_share)
        yield f'<text x="{left - 7:.1f}" y="{canvas.y(tick) + 4:.1f}" text-anchor="end">{text}</text>'
    whole = core_macs(data.points)
    meaning = f" (100% = {wording.count(whole)})" if whole else ""
    middle = (left + right) / 2
    label = f"MACs, share of the core&#8217;s{meaning}, log scale"
    yield f'<text x="{middle:.1f}" y="{canvas.height - 14}" text-anchor="middle">{label}</text></g>'


def _tick(value: float, is_share: bool) -> str:
    return f"{100 * value:g}%" if is_share else f"{value:g}"


def _draw(marks: Sequence[_Mark], place: int, canvas: _Canvas) -> Iterator[str]:
    spots = [(canvas.x(mark.share), canvas.y(mark.value)) for mark in marks]
    yield f'<g class="ct-{place % 4}" fill="currentColor" stroke="currentColor">'
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    dashes = f' stroke-dasharray="{_DASHES[place % 4]}"' if place % 4 else ""
    yield f'<polyline points="{line}" fill="none" stroke-width="{1.5 if place else 2}"{dashes}/>'
    for mark, (x, y) in zip(marks, spots, strict=True):
        yield from _whisker(mark, x, canvas)
        told = mark.text or _tick(float(f"{mark.value:.3g}"), canvas.is_share)
        name = _xml(wording.shown(mark.name))
        at, named = (f' data-point="{name}"', f"{name}: ") if name else ("", "")
        text = f"{named}{told} at {wording.percent(mark.share)} of the MACs"
        yield f"<g{at}>{_shape(place, x, y)}<title>{text}</title></g>"
    yield "</g>"


def _whisker(mark: _Mark, x: float, canvas: _Canvas) -> Iterator[str]:
    if mark.low is not None and mark.high is not None:
        low, high = canvas.y(max(mark.low, canvas.y.low)), canvas.y(min(mark.high, canvas.y.high))
        yield f'<path d="M{x - 3:.1f} {low:.1f}h6m-3 0V{high:.1f}m-3 0h6" fill="none" stroke-opacity=".7"/>'


def _shape(place: int, x: float, y: float, size: float = 4.0) -> str:
    kind = _SHAPES[place % len(_SHAPES)]
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    if kind == "square":
        return f'<path d="M{x - size:.1f} {y - size:.1f}h{2 * size}v{2 * size}h{-2 * size}z"/>'
    if kind == "diamond":
        return f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z"/>'
    return f'<path d="M{x:.1f} {y - 5:.1f}l5 9h-10z"/>'


def _labels(series: Sequence[tuple[str, Sequence[_Mark]]], canvas: _Canvas) -> Iterator[str]:
    """Name the family's points where there is room; all names are in the table beside the plot."""
    spots = [[(canvas.x(mark.share), canvas.y(mark.value)) for mark in marks] for _, marks in series]
    taken = [Box.around(*spot, 6) for line in spots for spot in line]
    taken += [
        Box(canvas.x(mark.share) - 3, canvas.y(mark.high), canvas.x(mark.share) + 3, canvas.y(mark.low))
        for _, marks in series
        for mark in marks
        if mark.low is not None and mark.high is not None
    ]
    lines = [box for line in spots for box in along(line)]
    frame = Box(canvas.x.start, canvas.y.end - 12, canvas.width, canvas.y.start)
    named = [
        (wording.shown(m.name, 14), canvas.x(m.share), canvas.y(m.value)) for _, ms in series for m in ms if m.name
    ]
    yield '<g fill="currentColor" font-size="11">'
    for label in place_labels(named, taken, lines, frame):
        yield f'<text x="{label.x:.1f}" y="{label.y:.1f}" text-anchor="{label.anchor}">{_xml(label.text)}</text>'
    yield "</g>"


def _legend(names: Sequence[str], canvas: _Canvas) -> Iterator[str]:
    columns = _legend_columns(canvas.width)
    room = (canvas.width - 60) / min(columns, len(names))
    for place, name in enumerate(names):
        x, y = 52 + (place % columns) * room, 14 + LEGEND_LINE * (place // columns)
        text = _xml(wording.shown(name, max(4, int((room - 18) / 6.4))))
        yield f'<g class="ct-{place % 4}" fill="currentColor">{_shape(place, x + 5, y)}</g>'
        yield f'<text x="{x + 16:.1f}" y="{y + 4}" fill="currentColor">{text}</text>'


def _legend_columns(width: int) -> int:
    """Return how many names stand side by side."""
    return max(1, width // 220)


def _summary(data: ReportData, series: Sequence[tuple[str, Sequence[_Mark]]], canvas: _Canvas) -> str:
    """Return the plot in words, for those who cannot see it."""
    parts = []
    for name, marks in series:
        ends = [f"{_tick(float(f'{m.value:.3g}'), canvas.is_share)} at {wording.percent(m.share)}" for m in marks]
        reach = ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]} in {len(ends)} points"
        parts.append(f"{wording.shown(name, 60)}: {reach} of the MACs")
    return f"{wording.title(data.figures.metric)}. " + "; ".join(parts) + "."


def _xml(text: str) -> str:
    return escape(text, quote=True)
