"""Figures of a run under load: medians over rounds with the least and the most, and ratios within each round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from concertina.bench.figures import scope
from concertina.bench.serving.trial import Arm, Trial
from concertina.measure.intervals import quantile
from concertina.measure.latency import UNRESOLVED
from concertina.measure.machine import machine_fingerprint, versions
from concertina.types import Record

ELASTIC, ALONE, AGAIN = "the policy chooses", " alone", ", again"
GRACE = 1.2
"""Accepted requests are to be answered within so many times their budget."""
CORRECT, IN_TIME, REFUSED, LATE = "served_correct_in_time", "served_in_time", "served_refused", "served_late"
WITHIN, MEDIAN, P99 = "served_within_grace", "served_ms_median", "served_ms_p99"
ACCURACY, CLIENT_LATE, FOREIGN = "served_accuracy", "client_sent_late", "core_foreign"
OVER_FULL, OVER_BEST, CONTROL = "served_over_full", "served_over_best", "served_control"
SHARE, RATIO = "share", "ratio"
BY_POINT = "served_by"


def contenders(points: Sequence[str]) -> list[Arm]:
    """Return the ways of answering: the policy, every point alone, and the full one again as a control.

    Args:
        points: Names, smallest first.

    Example:
        >>> [arm.name for arm in contenders(["p50", "p100"])]
        ['the policy chooses', 'p50 alone', 'p100 alone', 'p100 alone, again']
    """
    alone = [Arm(f"{name}{ALONE}", name) for name in points]
    return [Arm(ELASTIC), *alone, Arm(f"{alone[-1].name}{AGAIN}", alone[-1].point)]


def arm_records(subject: str, scenario: str, trials: Sequence[Trial], budget_ms: float) -> Iterator[Record]:
    """Yield the figures of one way of answering in one scenario, over its rounds."""
    where = scope(subject, f"{trials[0].arm.name}, {scenario}")
    count = sum(len(trial.due_s) for trial in trials)
    for metric, (figure, unit) in _figures(budget_ms).items():
        values = [value for trial in trials if (value := figure(trial)) is not None]
        if values:
            yield _spread(metric, values, unit, count, where)
    if not trials[0].arm.point:
        answered = Counter(point for trial in trials for point in trial.points if point)
        total = sum(answered.values())
        for point, found in sorted(answered.items()):
            yield Record("", f"{BY_POINT}[{point}]", found / total, SHARE, total, scope=where)


def compared(
    subject: str, scenario: str, rounds: Sequence[Mapping[str, Trial]], budget_ms: float, *, doubt: bool
) -> Iterator[Record]:
    """Yield correct answers in time over those of the full network and of the best single point, and the control.

    Args:
        subject: What figures call the family.
        scenario: What was put on the server.
        rounds: Way of answering -> what came of it; both of a ratio met the same arrivals and inputs.
        budget_ms: Of every request.
        doubt: Whether something else disturbed the rounds.
    """
    correct = [{name: trial.correct_in_time(budget_ms) for name, trial in one.items()} for one in rounds]
    again = next(name for name in correct[0] if name.endswith(AGAIN))
    full = again.removesuffix(AGAIN)
    singles = [name for name in correct[0] if name.endswith(ALONE)]
    best = max(singles, key=lambda name: quantile([one[name] for one in correct], 0.5))
    mark = f" {UNRESOLVED}" if doubt else ""
    count = sum(len(trial.due_s) for trial in (one[ELASTIC] for one in rounds))
    for metric, first, second in ((OVER_FULL, ELASTIC, full), (OVER_BEST, ELASTIC, best), (CONTROL, again, full)):
        ratios = [one[first] / max(one[second], 1e-9) for one in correct]
        where = scope(subject, f"{first} over {second}, {scenario}{mark}")
        yield _spread(metric, ratios, RATIO, count, where)


def _figures(budget_ms: float) -> dict[str, tuple[Callable[[Trial], float | None], str]]:
    """Return metric -> how it is taken from a try, and its unit."""
    return {
        CORRECT: (lambda trial: trial.correct_in_time(budget_ms), SHARE),
        IN_TIME: (lambda trial: float(np.mean(trial.in_time(budget_ms))), SHARE),
        REFUSED: (lambda trial: float(np.mean(~trial.accepted)), SHARE),
        LATE: (lambda trial: float(np.mean(trial.accepted & ~trial.in_time(budget_ms))), SHARE),
        WITHIN: (lambda trial: _of_accepted(trial, trial.latency_ms <= GRACE * budget_ms), SHARE),
        MEDIAN: (lambda trial: trial.latency_quantile(0.5), "ms"),
        P99: (lambda trial: trial.latency_quantile(0.99), "ms"),
        ACCURACY: (lambda trial: _of_accepted(trial, trial.correct), SHARE),
        CLIENT_LATE: (lambda trial: trial.sent_late, SHARE),
        FOREIGN: (lambda trial: trial.foreign, SHARE),
    }


def _of_accepted(trial: Trial, what: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float | None:
    """Return the share of accepted requests that something holds for; None where none was accepted."""
    return float(np.mean(what[trial.accepted])) if trial.accepted.any() else None


def _spread(metric: str, values: Sequence[float], unit: str, count: int, where: str) -> Record:
    """Return the median over rounds with the least and the most."""
    middle, low, high = quantile(values, 0.5), min(values), max(values)
    return Record("", metric, middle, unit, count, low, high, None, where, machine_fingerprint(), versions())
