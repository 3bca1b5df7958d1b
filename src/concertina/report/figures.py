"""What a report is made from, and the figures looked up from records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from concertina.report.wording import MANY
from concertina.types import Block, Group, Point, Record

CORE = "core"
"""What records of the core itself have for a spec."""
_MARKS = ("ungated", "unresolved")
_COSTS = ("latency", "macs", "params", "size_bytes")
_AUDITED = (
    "worst_",
    "recall",
    "churn",
    "changed_",
    "broken_",
    "confused",
    "ece",
    "temperature",
    "auc",
    "macro_auc",
    "promise_",
)
_NO_HEADLINES = ("loss", *_COSTS, *_AUDITED)


@dataclass(frozen=True)
class ReportData:
    """All that a report, card or plot of a family is made from: plain data."""

    title: str
    points: Sequence[Point]
    records: Sequence[Record]
    baselines: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    """Series name -> (share of the core's MACs, headline figure) of other ways to get smaller networks."""
    class_names: Sequence[str] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Label -> text: source, licence, fingerprint and whatever else tells where the family comes from."""
    groups: Sequence[Group] = ()
    blocks: Sequence[Block] = ()
    modules: Mapping[str, int] = field(default_factory=dict)
    """Name of a module -> its bytes."""
    metric: str = ""
    """Name of the headline metric; found in the records where it is left out."""
    data: str = ""
    """Fingerprint of the data that the report speaks of; that of the newest headline figure where it is left out."""

    @cached_property
    def figures(self) -> Figures:
        """The records, looked up by subnet and metric."""
        return Figures(self.records, self.metric, self.data)


@dataclass(frozen=True)
class Worst:
    """The class that a subnet knows least."""

    name: str
    record: Record


@dataclass(frozen=True)
class Setting:
    """How and where latency was measured."""

    scope: str
    """Batch and threads: "batch=1 threads=2"."""
    machine: str
    label: str
    """What to call it: the scope, and the machine where there are several."""


@dataclass(frozen=True)
class Timing:
    """Latency of one subnet in one setting."""

    median: Record
    p95: Record | None
    marks: str = ""
    """Why not to trust it: "unresolved" where the machine was too busy, "ungated" where that is not known."""


@dataclass(frozen=True)
class Row:
    """One line of the table of points; None stands for what was not measured."""

    name: str
    spec: str
    share: float | None
    macs: int | None
    params: int | None
    size_bytes: int | None
    quality: Record | None
    worst: Worst | None
    timings: tuple[Timing | None, ...]
    """In the order of `Figures.settings`."""


class Figures:
    """Records looked up by subnet, metric and scope; of several for the same the last counts.

    Figures of different data are never put side by side: one set of data is chosen, and the others are left out.

    Args:
        records: All records.
        metric: Name of the headline metric; the first fitting one of the records where it is empty.
        data: Fingerprint of the data to speak of; that of the last headline figure of a subnet where it is empty.
    """

    def __init__(self, records: Sequence[Record], metric: str = "", data: str = "") -> None:
        overall = [r for r in records if not r.scope and not r.metric.startswith(_NO_HEADLINES)]
        self.metric = metric or next((r.metric for r in overall), "")
        headlines = [r for r in overall if r.metric == self.metric]
        newest = [r.data for r in headlines if r.spec != CORE] or [r.data for r in headlines]
        self.data = data or (newest[-1] if newest else "")
        records = [r for r in records if r.data in ("", self.data)]
        self._by_key = {_key(r.spec, r.metric, r.scope, r.machine): r for r in records}
        self.unit = next((r.unit for r in records if r.metric == self.metric), "share")
        """Unit of the headline metric."""
        recalls = [r for r in records if r.metric == "recall" and r.scope]
        self.classes = tuple(dict.fromkeys(r.scope for r in recalls))
        """Names of classes with a recall, in the order of the records."""
        self._timed = [r for r in records if r.metric == "latency_ms_median"]
        several = len({r.machine for r in self._timed}) > 1
        labels = {(_unmarked(r.scope), r.machine): f" on {r.machine}" if several else "" for r in self._timed}
        self.settings = tuple(Setting(scope, machine, scope + label) for (scope, machine), label in labels.items())
        """Settings in which latency was measured, in the order of the records."""

    def get(self, spec: str, metric: str, scope: str = "", machine: str = "") -> Record | None:
        """Return the record of a subnet's metric, None where it was not measured; the machine counts for latency."""
        return self._by_key.get(_key(spec, metric, scope, machine))

    def quality(self, spec: str) -> Record | None:
        """Return the headline figure of a subnet."""
        return self.get(spec, self.metric)

    def worst(self, spec: str) -> Worst | None:
        """Return the class with the lowest recall."""
        found = [Worst(name, r) for name in self.classes if (r := self.get(spec, "recall", name)) is not None]
        if found:
            return min(found, key=lambda worst: worst.record.value)
        record = self.get(spec, "worst_class_recall")
        return Worst("", record) if record else None

    def timings(self, spec: str) -> tuple[Timing | None, ...]:
        """Return the latencies of a subnet, one for each of `settings`."""
        return tuple(self._timing(spec, setting) for setting in self.settings)

    def _timing(self, spec: str, setting: Setting) -> Timing | None:
        """Return the latency in a setting; a figure to be trusted goes before one that is not."""
        found = [
            r for r in self._timed if (r.spec, r.machine, _unmarked(r.scope)) == (spec, setting.machine, setting.scope)
        ]
        if not found:
            return None
        median = min(reversed(found), key=lambda r: len(_marks(r.scope)))
        p95 = self.get(spec, "latency_ms_p95", median.scope, median.machine)
        return Timing(median, p95, " ".join(_marks(median.scope)))


def _marks(scope: str) -> list[str]:
    return [word for word in scope.split() if word in _MARKS]


def _unmarked(scope: str) -> str:
    return " ".join(word for word in scope.split() if word not in _MARKS)


def _key(spec: str, metric: str, scope: str, machine: str) -> tuple[str, str, str, str]:
    return spec, metric, scope, machine if metric.startswith("latency") else ""


def rows(data: ReportData) -> list[Row]:
    """Return the table of points, smallest first, and the core last where it was measured.

    The core costs what the full point does, which has all of its channels and blocks.
    """
    found = [_row(data.figures, point) for point in sorted(data.points, key=lambda p: (p.macs, p.name))]
    core = _core_row(data)
    return [*found, core] if core else found


def core_macs(points: Sequence[Point]) -> int | None:
    """Return the MACs of the core, worked out from the largest point's share."""
    whole = [(point.share, point.macs) for point in points if 0 < point.share < math.inf and point.macs < MANY]
    if not whole:
        return None
    share, macs = max(whole)
    return round(macs / share)


def _row(figures: Figures, point: Point) -> Row:
    text = point.spec.text
    cost = (point.share, point.macs, point.params, point.size_bytes)
    return Row(point.name, text, *cost, figures.quality(text), figures.worst(text), figures.timings(text))


def _core_row(data: ReportData) -> Row | None:
    figures = data.figures
    quality, worst, timings = figures.quality(CORE), figures.worst(CORE), figures.timings(CORE)
    if quality is None and worst is None and not any(timings):
        return None
    macs = core_macs(data.points)
    full = next((point for point in data.points if point.macs == macs), None)
    params, size_bytes = (full.params, full.size_bytes) if full else (None, None)
    return Row(CORE, CORE, 1.0 if macs else None, macs, params, size_bytes, quality, worst, timings)
