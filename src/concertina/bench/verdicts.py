"""Bars: what a figure has to reach, and whether it does; where noise or few samples hide that, the verdict says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from concertina.types import Record

Verdict = Literal["met", "not met", "not resolved"]
ORDER: tuple[Verdict, ...] = ("not met", "not resolved", "met")
"""Verdicts, the worst first."""


SET_FOR = " (set for a ResNet-56)"
"""What is said of bars that depend on the network."""


@dataclass(frozen=True)
class Bar:
    """Something that a figure has to reach."""

    what: str
    wanted: str
    found: str
    verdict: Verdict
    room: float
    """How far the figure lies on the good side of its bar, in any unit; negative beyond it."""
    where: str = ""
    """The point and setting, where there are several."""
    control: str = "-"
    """What the same against itself gave, or the number of samples."""


def at_most(record: Record, most: float, *, doubt: bool = False) -> Verdict:
    """Return whether a figure stays within `most`, judged by its interval where it has one.

    Args:
        record: The figure.
        most: The largest value allowed.
        doubt: Whether the measurement cannot be trusted.

    Example:
        >>> at_most(Record("", "x", 1.0, "", low=0.9, high=1.1), 1.2)
        'met'
        >>> at_most(Record("", "x", 1.0, "", low=0.9, high=1.1), 1.05)
        'not resolved'
    """
    low, high = _ends(record)
    return _judged(good=high <= most, bad=low > most, doubt=doubt)


def at_least(record: Record, least: float, *, doubt: bool = False) -> Verdict:
    """Return whether a figure reaches `least`; arguments as for `at_most`."""
    low, high = _ends(record)
    return _judged(good=low >= least, bad=high < least, doubt=doubt)


def faster(record: Record, limit: float, *, doubt: bool) -> Verdict:
    """Return whether a time stays under `limit`: noise only adds to a time, so what is fast beside noise is fast."""
    low, high = _ends(record)
    if high < limit:
        return "met"
    return _judged(good=False, bad=low >= limit, doubt=doubt)


def _ends(record: Record) -> tuple[float, float]:
    """Return the ends of a figure's interval; the figure itself where it has none."""
    return (
        record.value if record.low is None else record.low,
        record.value if record.high is None else record.high,
    )


def _judged(*, good: bool, bad: bool, doubt: bool) -> Verdict:
    if doubt or good == bad:
        return "not resolved"
    return "met" if good else "not met"


def rows(bars: Iterable[Bar]) -> list[tuple[str, ...]]:
    """Return a row for each kind of bar: what, the bar, the worst that was found, its control, the verdict.

    A bar is met where all its points meet it, and not met where one does not; the row says how many do.
    """
    kinds: dict[tuple[str, str], list[Bar]] = {}
    for bar in bars:
        kinds.setdefault((bar.what, bar.wanted), []).append(bar)
    return [_row(found) for found in kinds.values()]


def _row(bars: Sequence[Bar]) -> tuple[str, ...]:
    worst = min(bars, key=lambda bar: (ORDER.index(bar.verdict), bar.room))
    met = sum(bar.verdict == "met" for bar in bars)
    count = f" ({met} of {len(bars)} met)" if len(bars) > 1 else ""
    found = worst.found + (f" at {worst.where}" if worst.where else "")
    return worst.what, worst.wanted, found, worst.control, worst.verdict + count
