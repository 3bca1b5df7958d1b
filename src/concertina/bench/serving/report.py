"""What a run under load tells: what was to be reached and whether it was, and a table a scenario."""

from __future__ import annotations

from collections.abc import Iterator

from concertina.bench.base import markdown
from concertina.bench.figures import Figures, in_doubt
from concertina.bench.run import TITLES
from concertina.bench.serving import overhead
from concertina.bench.serving.records import (
    ACCURACY,
    ALONE,
    BY_POINT,
    CLIENT_LATE,
    CONTROL,
    CORRECT,
    ELASTIC,
    FOREIGN,
    GRACE,
    IN_TIME,
    LATE,
    MEDIAN,
    OVER_BEST,
    OVER_FULL,
    P99,
    REFUSED,
    WITHIN,
)
from concertina.bench.serving.scenarios import MISSED, STEADY
from concertina.bench.verdicts import Bar, Verdict, at_least, at_most, rows
from concertina.measure.runs import Run
from concertina.types import Record

LEAST_WITHIN, LEAST_OVER_FULL, MOST_OVERHEAD_MS, MOST_GROWTH = 0.99, 2.0, 1.0, 20 * 2**20
CONTROL_TOLERANCE = 0.05
"""How far the full network may be from itself for a comparison to say something."""
HEADS = ("who answers", "correct in time", "in time", "late", "refused", "accuracy", "median ms", "p99 ms", "in grace")
COLUMNS = (CORRECT, IN_TIME, LATE, REFUSED, ACCURACY, MEDIAN, P99, WITHIN)


def told(run: Run) -> str:
    """Return the Markdown of a run.

    Args:
        run: What `run_serving` returned, or the same read from its file.
    """
    lines = ["### What was to be reached", "", *markdown(TITLES, reached(run)), ""]
    for scenario, phases in run.settings["scenarios"].items():
        rates = ", ".join(f"{phase['per_s']:.0f}/s for {phase['seconds']:.1f} s" for phase in phases)
        lines += [f"### {scenario[:1].upper()}{scenario[1:]}: {rates}", "", *_table(run, scenario), ""]
    steps = ", ".join(f"{step['per_s']:.0f}/s {step['in_time']:.0%}" for step in run.settings["raising the load"])
    effort = run.settings["effort"]
    lines += [
        f"Budget {effort['budget_ms']:g} ms, counted from when a request was due. Shares are of all requests sent, "
        f"medians of up to {effort['rounds']} rounds with least and most; accuracy, times and 'in grace' (within "
        f"{GRACE} times the budget) are of accepted ones.",
        f"Raising the load, share in time of the full network alone: {steps}.",
        _disturbed(run),
        f"{run.machine}; {run.versions}; {run.date}.",
    ]
    return "\n".join(lines)


def reached(run: Run) -> list[tuple[str, ...]]:
    """Return what was to be reached, a row each: what, the bar, what was found, its control, the verdict."""
    return rows(_bars(run))


def _figures(run: Run) -> Figures:
    return Figures(run.records, {run.settings["subject"]: (), overhead.SUBJECT: ()})


def _bars(run: Run) -> Iterator[Bar]:
    for scenario in run.settings["scenarios"]:
        yield from _scenario_bars(run, scenario)
    yield from _cost_bars(run)


def _scenario_bars(run: Run, scenario: str) -> Iterator[Bar]:
    figures, subject = _figures(run), run.settings["subject"]
    ratios = {r.metric: r for r in run.records if r.metric in (OVER_FULL, OVER_BEST, CONTROL) and scenario in r.scope}
    control = ratios[CONTROL]
    doubt = in_doubt(control) or abs(control.value - 1) > CONTROL_TOLERANCE
    kept = f"{control.value:.3f}"
    full = next(name for name in reversed(run.settings["arms"]) if name.endswith(ALONE))
    alone = figures.one(IN_TIME, subject, f"{full}, {scenario}")
    if scenario == STEADY and alone is not None:
        missed = at_most(alone, 1 - MISSED)
        yield Bar("requests the full network alone misses", f"> {MISSED:.0%}", f"{1 - alone.value:.1%}", missed, 0.0)
    within = figures.one(WITHIN, subject, f"{ELASTIC}, {scenario}")
    if within is not None:
        verdict = at_least(within, LEAST_WITHIN, doubt=doubt)
        what = f"accepted requests answered within {GRACE}x their budget, {ELASTIC}"
        room = within.value - LEAST_WITHIN
        yield Bar(what, f">= {LEAST_WITHIN:.0%}", _share(within), verdict, room, scenario, kept)
    if scenario == STEADY:
        over = ratios[OVER_FULL]
        verdict = at_least(over, LEAST_OVER_FULL, doubt=doubt)
        what = "correct answers in time over those of the full network"
        room = over.value - LEAST_OVER_FULL
        yield Bar(what, f">= {LEAST_OVER_FULL:g}x", _ratio(over), verdict, room, control=kept)
    best = ratios[OVER_BEST]
    verdict = _more_than(best, 1.0, doubt=doubt)
    what = "correct answers in time over those of the best single point"
    yield Bar(what, "> 1x", f"{_ratio(best)} {_second(best)}", verdict, best.value - 1, scenario, kept)


def _cost_bars(run: Run) -> Iterator[Bar]:
    figures = _figures(run)
    over = figures.one(overhead.OVERHEAD, overhead.SUBJECT, overhead.HTTP)
    if over is not None:
        verdict = at_most(over, MOST_OVERHEAD_MS)
        what = "server and policy over the bare network, median of one small request"
        control = f"{over.n} requests"
        room = MOST_OVERHEAD_MS - over.value
        yield Bar(what, f"<= {MOST_OVERHEAD_MS:g} ms", f"{over.value:.3f} ms", verdict, room, control=control)
    own, leak = (figures.one(overhead.GROWTH, overhead.SUBJECT, w) for w in (overhead.SERVER_GROWTH, overhead.LEAK))
    if own is not None and leak is not None:
        blind = leak.value <= MOST_GROWTH
        verdict = at_most(own, MOST_GROWTH, doubt=blind)
        what, control = f"memory that {own.n:,} switches of size keep", f"{leak.value / 2**20:.0f} MB by a leak"
        room = MOST_GROWTH - own.value
        yield Bar(what, "< 20 MB", f"{own.value / 2**20:.1f} MB", verdict, room, control=control)


def _more_than(record: Record, limit: float, *, doubt: bool) -> Verdict:
    """Return whether a figure lies above a limit in every round."""
    if record.low is not None and record.low <= limit and not doubt:
        return "not met" if (record.high or 0.0) <= limit else "not resolved"
    return at_least(record, limit, doubt=doubt)


def _table(run: Run, scenario: str) -> list[str]:
    figures, subject, body = _figures(run), run.settings["subject"], []
    for arm in run.settings["arms"]:
        found = [figures.one(metric, subject, f"{arm}, {scenario}") for metric in COLUMNS]
        body.append((arm, *map(_cell, found)))
    by = [r for r in run.records if r.metric.startswith(BY_POINT) and r.scope.endswith(scenario)]
    shares = ", ".join(f"{r.metric[len(BY_POINT) + 1 : -1]} {r.value:.0%}" for r in sorted(by, key=lambda r: -r.value))
    return [*markdown(HEADS, body), "", f"Where {ELASTIC}, answers came from {shares or 'no point'}."]


def _disturbed(run: Run) -> str:
    """Return how much the client and others on the server's core disturbed the rounds that count."""
    worst = {
        metric: max((r.high or 0.0 for r in run.records if r.metric == metric), default=None)
        for metric in (CLIENT_LATE, FOREIGN)
    }
    late, foreign = ("not known" if value is None else f"{value:.1%}" for value in worst.values())
    return f"Worst round: {late} of the requests sent late by the client, others on the server's core {foreign}."


def _cell(record: Record | None) -> str:
    if record is None:
        return "-"
    return _share(record) if record.unit == "share" else f"{record.value:.1f}"


def _share(record: Record) -> str:
    return f"{record.value:.1%}" + (f" ({record.low:.1%} to {record.high:.1%})" if record.low != record.high else "")


def _ratio(record: Record) -> str:
    return f"{record.value:.3f}x ({record.low:.3f} to {record.high:.3f})"


def _second(record: Record) -> str:
    """Return whom a ratio is over: "over p25 alone"."""
    return "over" + record.scope.partition(" over ")[2].partition(",")[0].join((" ", ""))
