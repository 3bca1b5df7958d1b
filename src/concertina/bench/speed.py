"""Latency: a view beside its copy, and a subnet beside the same shape built by hand, each with a control.

The control is the network built by hand twice: two equal networks in places of their own. Where those differ by more
than 2%, a comparison says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from concertina.bench.base import THEMES, Job, Subject, Theme, markdown
from concertina.bench.byhand import by_hand
from concertina.bench.exported import installed, times_faster
from concertina.bench.figures import Figures, in_doubt, scope
from concertina.bench.verdicts import Bar, at_most
from concertina.errors import ExportError
from concertina.export import EAGER, EXPORTERS, ToExport, export_point
from concertina.family.runtimes import repeated
from concertina.measure.latency import UNGATED, UNRESOLVED, LatencyResult, Runner, latency, module_runner
from concertina.nest import materialize
from concertina.types import Point, Record

VIEW, COPY, HAND, OVER = "view", "copy", "built by hand", " over "
MOST = {(VIEW, COPY): 1.25, (COPY, HAND): 1.03}
"""Pairs that are compared, and how much slower the first may be."""
WORDS = {(VIEW, COPY): "a view over its copy", (COPY, HAND): "a copy, or its export, over the same shape built by hand"}
SHARES = (0.25, 0.5)
"""Points near these shares of the MACs are timed; the last one in other runtimes too."""
LEAST_SAMPLES, MOST_SAMPLES = 30, 2000
"""Clean samples of each network: to see whether the machine is quiet, and to measure it well."""
RATIO, CONTROL = "latency_ratio", "latency_control"


@THEMES.register("speed", source="ours")
class SpeedTheme(Theme):
    """Median latency of a view, of its copy and of a hand-made network, eager and in the runtimes installed."""

    title = "Latency: views, copies and the same shape built by hand, 1 thread"

    def measure(self, job: Job) -> list[Record]:
        """Time them side by side, in turns."""
        found: list[Record] = []
        for number, subject in enumerate(job.subjects):
            points = _timed(subject)
            for done, point in enumerate(points):
                job.tell(f"latency, {subject.name}", done / len(points))
                for batch in job.effort.batches:
                    found += _eager(job, subject, point, batch)
            if number < job.effort.exported_subjects:
                found += _exported(job, subject, points[-1])
        return found

    def lines(self, figures: Figures) -> Sequence[str]:
        """Return a row for each comparison."""
        rows = [
            (one.network, one.setting, OVER.join(one.pair), one.medians, one.shown, one.control)
            for one in _ratios(figures)
        ]
        return markdown(("network", "setting", "compared", "median ms", "ratio", "control"), rows)

    def bars(self, figures: Figures) -> Sequence[Bar]:
        """Judge every ratio, unless the machine was too busy."""
        bars = []
        for one in _ratios(figures):
            most, where = MOST[one.pair], f"{one.network}, {one.setting}"
            verdict = at_most(one.record, most, doubt=in_doubt(one.record))
            room = most - one.record.value
            bars.append(Bar(WORDS[one.pair], f"<= {most}x", one.shown, verdict, room, where, one.control))
        return bars


def _timed(subject: Subject) -> list[Point]:
    points = subject.family.points
    chosen = [min(points, key=lambda point: abs(point.share - share)) for share in SHARES]
    return list(dict.fromkeys(chosen))


def _eager(job: Job, subject: Subject, point: Point, batch: int) -> Iterator[Record]:
    view = subject.family.view(point.name)
    copy = materialize(view)
    inputs = tuple(repeated(tensor, batch) for tensor in subject.family.core.example_inputs)
    networks = {HAND: by_hand(copy), COPY: copy, VIEW: view}
    runners = {who: module_runner(module, *inputs) for who, module in networks.items()}
    control = module_runner(by_hand(copy), *inputs)
    return _compared(job, (runners, control), batch, _Told(subject, point, f"{EAGER}, batch {batch}"))


def _exported(job: Job, subject: Subject, point: Point) -> list[Record]:
    """Time an exported subnet beside the exported hand-made network, in each runtime that is installed."""
    found: list[Record] = []
    copy = materialize(subject.family.view(point.name))
    networks = {HAND: by_hand(copy), COPY: copy}
    for runtime in [name for name, there in installed().items() if there and name != EAGER]:
        job.tell(f"latency, {subject.name} in {runtime}", 0.0)
        try:
            files = {who: _file(job, subject, runtime, (who, module)) for who, module in networks.items()}
        except ExportError as error:
            job.tell(f"{subject.name} is not timed in {runtime}: {error}", 1.0)
            continue
        runners = {who: _runner(subject, runtime, path) for who, path in files.items()}
        control = _runner(subject, runtime, files[HAND])
        found += _compared(job, (runners, control), 1, _Told(subject, point, f"{runtime}, batch 1"))
    return found


def _file(job: Job, subject: Subject, runtime: str, network: tuple[str, nn.Module]) -> Path:
    who, module = network
    path = job.folder / f"speed-{who.replace(' ', '-')}{EXPORTERS.get(runtime).suffix}"
    return export_point(runtime, ToExport(who, module, subject.family.core.example_inputs, {}), path).files[0]


def _runner(subject: Subject, runtime: str, path: Path) -> Runner:
    inputs = (repeated(tensor, 1) for tensor in subject.family.core.example_inputs)
    return EXPORTERS.get(runtime)().load(path, 1).runner(*inputs)


@dataclass(frozen=True, eq=False)
class _Told:
    """What figures of a comparison say of themselves."""

    subject: Subject
    point: Point
    setting: str

    def placed(self, record: Record, who: str, result: LatencyResult) -> Record:
        """Return a figure with its spec and scope, and the marks of doubt that its measurement has."""
        marks = [word for word in result.scope.split() if word in (UNGATED, UNRESOLVED)]
        where = " ".join((scope(self.subject.name, f"{who}, {self.setting}"), *marks))
        return replace(record, spec=self.point.spec.text, scope=where)


def _compared(job: Job, runners: tuple[Mapping[str, Runner], Runner], batch: int, told: _Told) -> Iterator[Record]:
    """Yield the medians of the runners, the ratios of the pairs among them, and each ratio's control."""
    results = _settled(job, *runners, batch)
    for who, found in results.items():
        median = next(r for r in found.to_records("") if r.metric == "latency_ms_median")
        yield told.placed(median, who, found)
    for first, second in MOST:
        if first in results and second in results:
            one, who = results[first], f"{first}{OVER}{second}"
            marked = one if one.status != "ok" else results[second]
            ratio = times_faster(results[second], one)
            control = replace(ratio, metric=CONTROL, value=one.control_ratio, low=None, high=None)
            yield from (told.placed(record, who, marked) for record in (ratio, control))


def _settled(job: Job, runners: Mapping[str, Runner], control: Runner, batch: int) -> dict[str, LatencyResult]:
    """Return the results of the first try whose control held, or of the last; short calls get more samples then.

    30 samples tell whether the machine is quiet. The intervals of so few are too wide for a bar of 3%.
    """
    limit, results = job.effort.latency_s, dict[str, LatencyResult]()
    for _ in range(job.effort.tries):
        results = latency(runners, time_limit_s=limit, threads=1, batch=batch, control=control)
        if _held(results):
            break
    round_s = sum(result.median_ms for result in results.values()) / 1000 * (1 + 1 / len(results))
    wanted = min(MOST_SAMPLES, int(0.5 * limit / max(round_s, 1e-6)))
    if not _held(results) or wanted <= LEAST_SAMPLES:
        return results
    more = latency(runners, min_samples=wanted, time_limit_s=limit, threads=1, batch=batch, control=control)
    return more if _held(more) else results


def _held(results: Mapping[str, LatencyResult]) -> bool:
    return all(result.status == "ok" for result in results.values())


@dataclass(frozen=True)
class _Ratio:
    """One comparison, read back from the Records."""

    record: Record
    network: str
    setting: str
    pair: tuple[str, str]
    medians: str
    control: str

    @property
    def shown(self) -> str:
        """The ratio with its interval, as it is printed."""
        low, high = self.record.low, self.record.high
        ends = f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
        return f"{self.record.value:.3f}x{ends}" + (", unresolved" if in_doubt(self.record) else "")


def _ratios(figures: Figures) -> Iterator[_Ratio]:
    for subject in figures.subjects(RATIO):
        for place in figures.places[subject]:
            for who in figures.who(RATIO, subject):
                record, control = (figures.one(metric, subject, who, place) for metric in (RATIO, CONTROL))
                if record is None or control is None:
                    continue
                pair, _, setting = who.partition(", ")
                first, _, second = pair.partition(OVER)
                medians = [
                    figures.one("latency_ms_median", subject, f"{one}, {setting}", place) for one in (first, second)
                ]
                shown = " / ".join("-" if found is None else f"{found.value:.3g}" for found in medians)
                network = f"{subject} {place.name}"
                yield _Ratio(record, network, setting, (first, second), shown, f"{control.value:.3f}")
