"""What fewer misses of a protected class cost in false alarms: one curve a point, the promised threshold marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from concertina.measure.promise import Promise, curve_of
from concertina.report import wording
from concertina.report.figures import ReportData
from concertina.report.scales import Scale, linear_ticks

MAX_PLOTS, MAX_CURVES = 6, 6
HEADROOM = 1.15
"""How much higher than the curves the plot is: its name stands there."""
WIDTH, HEIGHT = 460, 300
_STYLE = """
.ct-trade{color:#1c2430;font:12px system-ui,sans-serif}
.ct-t0{color:#0b62b0}.ct-t1{color:#c04f00}.ct-t2{color:#007a5a}.ct-t3{color:#a0358a}.ct-t4{color:#7a6a00}.ct-t5{color:#5a5a5a}
@media(prefers-color-scheme:dark){.ct-trade{color:#e6e9ee}.ct-t0{color:#6cb6ff}.ct-t1{color:#ffa657}
.ct-t2{color:#5fd3a8}.ct-t3{color:#e79ad6}.ct-t4{color:#e0cf6a}.ct-t5{color:#b5b5b5}}
"""


@dataclass(frozen=True)
class _Curve:
    """What one point can do."""

    promise: Promise
    spots: tuple[tuple[float, float], ...]
    """(share of the class missed, share of others found), by rising misses."""


def tradeoff_svgs(data: ReportData, promises: Sequence[Promise]) -> list[tuple[str, str]]:
    """Return (class name, one `<svg>` element) for each protected class whose curves were measured.

    Args:
        data: What the report is made from.
        promises: What is promised, points smallest first.
    """
    found: list[tuple[str, str]] = []
    for name in list(dict.fromkeys(promise.class_name for promise in promises))[:MAX_PLOTS]:
        own = [promise for promise in promises if promise.class_name == name]
        curves = [_Curve(promise, tuple(curve_of(data.records, promise))) for promise in own]
        curves = [curve for curve in curves if len(curve.spots) > 1][:MAX_CURVES]
        if curves:
            found.append((name, _svg(curves, f"trade{len(found)}")))
    return found


def _svg(curves: Sequence[_Curve], prefix: str) -> str:
    spots = [spot for curve in curves for spot in (*curve.spots, _promised(curve.promise))]
    x = Scale(0.0, max(0.05, *(spot[0] for spot in spots)), 52, WIDTH - 86)
    y = Scale(0.0, HEADROOM * max(0.05, *(spot[1] for spot in spots)), HEIGHT - 44, 14)
    title = wording.shown(f"False alarms against misses of {curves[0].promise.class_name}", 100)
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ct-trade" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" aria-labelledby="{prefix}-title">',
        f'<title id="{prefix}-title">{escape(title)}</title>',
        f"<style>{_STYLE}</style>",
        *_axes(x, y),
        *(line for place, curve in enumerate(curves) for line in _drawn(curve, place, x, y)),
        "</svg>",
    ]
    return "\n".join(body) + "\n"


def _promised(promise: Promise) -> tuple[float, float]:
    return _within(promise.false_negative_rate.value), _within(promise.false_positive_rate.value)


def _within(share: float) -> float:
    """Return a share that can be drawn, whatever a damaged file says."""
    return min(1.0, max(0.0, share))


def _axes(x: Scale, y: Scale) -> Iterator[str]:
    ink = 'stroke="currentColor" stroke-opacity=".18"'
    for tick in linear_ticks(x.low, x.high, 6):
        yield f'<line x1="{x(tick):.1f}" y1="{y.start}" x2="{x(tick):.1f}" y2="{y.end}" {ink}/>'
        yield _text(x(tick), y.start + 16, wording.percent(tick), "middle")
    for tick in linear_ticks(y.low, y.high, 6):
        yield f'<line x1="{x.start}" y1="{y(tick):.1f}" x2="{x.end}" y2="{y(tick):.1f}" {ink}/>'
        yield _text(x.start - 6, y(tick) + 4, wording.percent(tick), "end")
    yield _text((x.start + x.end) / 2, HEIGHT - 8, "missed (false negatives)", "middle")
    yield _text(x.start + 4, y.end + 12, "false alarms (false positives)", "start")


def _drawn(curve: _Curve, place: int, x: Scale, y: Scale) -> Iterator[str]:
    line = " ".join(f"{x(_within(missed)):.1f},{y(_within(alarms)):.1f}" for missed, alarms in curve.spots)
    across, up = _promised(curve.promise)
    said = wording.shown(
        f"{curve.promise.point}: {wording.percent(across)} missed, {wording.percent(up)} false alarms", 90
    )
    yield f'<g class="ct-t{place % 6}">'
    yield f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.8"/>'
    yield f'<circle cx="{x(across):.1f}" cy="{y(up):.1f}" r="4.5" fill="currentColor">'
    yield f"<title>{escape(said)}</title></circle>"
    legend = wording.shown(curve.promise.point, 10)
    yield f'<circle cx="{x.end + 14:.1f}" cy="{22 + 18 * place}" r="4.5" fill="currentColor"/></g>'
    yield _text(x.end + 23, 26 + 18 * place, legend, "start")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="currentColor" text-anchor="{anchor}">{escape(text)}</text>'
