"""Speed-up of a smaller point over the full one, in torch and in the runtimes that are installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from concertina.bench.base import THEMES, Job, Subject, Theme, markdown
from concertina.bench.exported import PACKAGES, SPEED_UP, Plan, exported_files, installed, measure, records
from concertina.bench.figures import Figures, Place, in_doubt, scope
from concertina.bench.verdicts import SET_FOR, Bar, at_least
from concertina.errors import ExportError, how_to_install
from concertina.export import EAGER
from concertina.types import Point, Record

LEAST_SPEED_UP = 1.4
"""How many times faster an exported point has to be, batch 32, where it has 2.1 times fewer MACs or less than that."""
FEWER_MACS = 2.1
BATCH = 32


@THEMES.register("runtimes", source="ours")
class RuntimesTheme(Theme):
    """Latency of a smaller point and of the full one, side by side, each runtime beside itself."""

    title = "Speed-up over the full point, 1 thread"

    def measure(self, job: Job) -> list[Record]:
        """Time both points of the last family in all runtimes in turns."""
        subject, effort = job.subjects[-1], job.effort
        points = _pair(subject)
        there = tuple(name for name, found in installed().items() if found)[: 1 + effort.most_runtimes]
        job.tell("exporting", 0.0)
        plan = Plan(subject.family, points, there, effort.latency_s * len(there), effort.tries)
        try:
            files = exported_files(plan, job.folder)
        except ExportError as error:
            job.tell(f"only torch is timed: {error}", 1.0)
            plan, files = replace(plan, runtimes=(EAGER,)), {}
        found: list[Record] = []
        for done, batch in enumerate(effort.exported_batches):
            job.tell("speed-ups", done / len(effort.exported_batches))
            found += records(plan, measure(plan, files, batch, 1))
        return [replace(record, scope=scope(subject.name, record.scope)) for record in found]

    def lines(self, figures: Figures) -> Sequence[str]:
        """Return a row for each setting and runtime; a line for each runtime that is not installed."""
        lines: list[str] = []
        for subject in figures.subjects(SPEED_UP):
            places = [p for p in figures.places[subject] if figures.one(SPEED_UP, subject, _first(figures, subject), p)]
            rows = [_row(figures, subject, who, places) for who in figures.who(SPEED_UP, subject)]
            titles = (subject, *(f"{place.title}, ms" for place in places), "control")
            lines += [*markdown(titles, rows), ""]
        for name, found in figures.runtimes.items():
            if not found:
                lines += [
                    f"{PACKAGES.get(name, name)} is not installed, so it was not timed. {how_to_install(name)}",
                    "",
                ]
        return lines[:-1]

    def bars(self, figures: Figures) -> Sequence[Bar]:
        """Judge exported points of less than half the MACs at batch 32; only those of the last family."""
        bars = []
        for subject in figures.subjects(SPEED_UP):
            for who in figures.who(SPEED_UP, subject):
                batch, _threads, runtime = who.split()
                places = [place for place in figures.places[subject] if place.share * FEWER_MACS <= 1]
                if runtime != EAGER and batch == f"batch={BATCH}":
                    bars += [bar for place in places for bar in _bar(figures, subject, who, place)]
        return bars


def _bar(figures: Figures, subject: str, who: str, place: Place) -> list[Bar]:
    found = figures.one(SPEED_UP, subject, who, place)
    if found is None:
        return []
    runtime = who.split()[-1]
    what = f"{subject} at {1 / place.share:.2f}x fewer MACs: {runtime} over its full point, batch {BATCH}"
    verdict = at_least(found, LEAST_SPEED_UP, doubt=in_doubt(found))
    room = found.value - LEAST_SPEED_UP
    control = _control(figures, subject, who, place)
    return [Bar(what, f">= {LEAST_SPEED_UP}x faster{SET_FOR}", _shown(found), verdict, room, control=control)]


def _shown(found: Record) -> str:
    ends = "" if found.low is None or found.high is None else f" ({found.low:.2f} to {found.high:.2f})"
    return f"{found.value:.2f}x{ends}" + (", unresolved" if in_doubt(found) else "")


def _pair(subject: Subject) -> tuple[Point, ...]:
    """Return the largest point of 2.1 times fewer MACs (else the smallest point) and the full one."""
    points = subject.family.points
    small = [point for point in points if point.share * FEWER_MACS <= 1] or points[:1]
    return tuple(dict.fromkeys((small[-1], points[-1])))


def _first(figures: Figures, subject: str) -> str:
    return figures.who(SPEED_UP, subject)[0]


def _row(figures: Figures, subject: str, who: str, places: Sequence[Place]) -> tuple[str, ...]:
    cells, doubt = [], False
    for place in places:
        median, faster = (figures.one(m, subject, who, place) for m in ("latency_ms_median", SPEED_UP))
        cells.append(f"{median.value:.3g} ({faster.value:.2f}x)" if median and faster else "-")
        doubt = doubt or (faster is not None and in_doubt(faster))
    batch, _threads, runtime = who.split()
    mark = " (unresolved)" if doubt else ""
    return f"{runtime}, {batch.replace('=', ' ')}{mark}", *cells, _control(figures, subject, who, places[0])


def _control(figures: Figures, subject: str, who: str, place: Place) -> str:
    found = figures.one("latency_control", subject, who, place)
    return "-" if found is None else f"{found.value:.3f}"
