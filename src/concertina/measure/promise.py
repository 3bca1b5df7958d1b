"""A promise about one class at one point: a threshold, and what it holds; as a value and as Records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from concertina.measure.answers import Answers
from concertina.objective.intervals import wilson
from concertina.types import Point, Record

PREFIX = "promise_"
"""How the metrics of all Records of promises begin."""
MISSED, ALARMS, PRECISION = (f"{PREFIX}{name}" for name in ("false_negative_rate", "false_positive_rate", "precision"))
_AT = f"{PREFIX}false_positive_rate_at_"
CURVE = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
"""Shares of a class missed at which its false alarms are kept, to see a promise beside its alternatives."""
_FACTS = ("threshold", "bound", "confidence", "statements", "min_precision")
_UNITS = {"threshold": "probability", "statements": "promises"}


@dataclass(frozen=True)
class Promise:
    """A bound on the false-negative rate of one class at one operating point, and the threshold that holds it."""

    point: str
    """Name of the operating point."""
    class_name: str
    place: int
    """Number of the class among the outputs."""
    bound: float
    """Largest false-negative rate."""
    threshold: float
    """The class is found where its softmax probability is this or more."""
    confidence: float
    """Confidence with which the bound holds; 0 where it holds on average only."""
    statements: int
    """How many promises were asked for together: they hold together."""
    min_precision: float
    """Precision under which nothing would have been promised; 0 for none."""
    false_negative_rate: Record
    """Measured at the threshold; `n` is the samples of the class, `high` what the bound rests on."""
    false_positive_rate: Record
    """Share of the samples of other classes that are found."""
    precision: Record
    """Share of those found that are of the class."""
    refused: str = ""
    """Why nothing is promised; empty for a promise."""

    @property
    def data(self) -> str:
        """Fingerprint of the data that it rests on."""
        return self.false_negative_rate.data

    def found(self, logits: Tensor) -> Tensor:
        """Return for each row of logits (batch, classes) whether the class is found, (batch,) bool."""
        return logits.double().softmax(dim=-1)[..., self.place] >= self.threshold

    def records(self) -> list[Record]:
        """Return it as Records: what a file keeps of it."""
        whole = self.false_negative_rate
        facts = [
            replace(
                whole,
                metric=f"{PREFIX}{name}",
                value=float(getattr(self, name)),
                unit=_UNITS.get(name, "share"),
                low=None,
                high=None,
            )
            for name in _FACTS
        ]
        return [*facts, self.false_negative_rate, self.false_positive_rate, self.precision]


def threshold_for(scores: Tensor, misses: int) -> float:
    """Return the largest threshold that misses at most so many of the class's own scores.

    Args:
        scores: Probability of the class for samples of it, (samples,).
        misses: How many may lie below, 0 to samples - 1.

    Example:
        >>> import torch
        >>> threshold_for(torch.tensor([0.9, 0.2, 0.5]), misses=1)
        0.5
    """
    return float(scores.sort().values[misses])


def rates_at(answers: Answers, place: int, threshold: float) -> tuple[Record, Record, Record]:
    """Return the false-negative rate, false-positive rate and precision of one class at a threshold.

    Args:
        answers: What the network answered; the class and another have samples.
        place: Number of the class.
        threshold: Of its softmax probability.

    Returns:
        Records with Wilson's 95% intervals; a precision of nothing found counts as 1.
    """
    own, found = answers.labels == place, answers.probabilities[:, place] >= threshold
    hits, alarms, size = int((own & found).sum()), int((~own & found).sum()), int(own.sum())
    counts = ((MISSED, size - hits, size), (ALARMS, alarms, len(own) - size), (PRECISION, hits, hits + alarms))
    made = []
    for metric, part, n in counts:
        low, high = wilson(part, n)
        nothing = 1.0 if metric == PRECISION else 0.0
        share = part / n if n else nothing
        made.append(Record(answers.spec, metric, share, "share", n, low, high, scope=answers.class_names[place]))
    return made[0], made[1], made[2]


def curve_records(answers: Answers, place: int) -> list[Record]:
    """Return what fewer misses of a class would cost: its false-positive rate where so many are missed.

    Args:
        answers: What the network answered; the class and another have samples.
        place: Number of the class.

    Returns:
        A Record for each share of `CURVE`, with Wilson's interval; the threshold is that quantile of the own scores.
    """
    own = answers.labels == place
    scores = answers.probabilities[:, place]
    mine = scores[own].sort().values
    made = []
    for missed in CURVE:
        threshold = mine[min(len(mine) - 1, int(missed * len(mine)))]
        alarms, others = int((scores[~own] >= threshold).sum()), int((~own).sum())
        low, high = wilson(alarms, others)
        metric, scope = f"{_AT}{missed:g}", answers.class_names[place]
        made.append(Record(answers.spec, metric, alarms / others, "share", others, low, high, scope=scope))
    return made


def curve_of(records: Iterable[Record], promise: Promise) -> list[tuple[float, float]]:
    """Return (share missed, false-positive rate) of a promise's class at its point, by rising misses.

    Args:
        records: All Records of a family.
        promise: Which class, point and data.
    """
    own = promise.false_negative_rate
    held = {
        record.metric.removeprefix(_AT): record.value
        for record in records
        if record.metric.startswith(_AT) and (record.spec, record.scope, record.data) == (own.spec, own.scope, own.data)
    }
    return [(missed, held[f"{missed:g}"]) for missed in CURVE if math.isfinite(held.get(f"{missed:g}", math.nan))]


def promises_of(records: Iterable[Record], points: Sequence[Point], class_names: Sequence[str]) -> list[Promise]:
    """Return the promises that Records tell of, the last one for each point and class; points smallest first.

    Args:
        records: All Records of a family.
        points: Its operating points.
        class_names: Names of its classes, in the order of the outputs; numbers stand for themselves.
    """
    told: dict[tuple[str, str, str], dict[str, Record]] = {}
    for record in records:
        if record.metric.startswith(PREFIX):
            key = (record.spec, record.scope, record.data)
            held = told.pop(key, {})
            told[key] = {**held, record.metric: record}
    latest = {key[:2]: held for key, held in told.items()}
    found = []
    for point in points:
        for (spec, name), held in latest.items():
            promise = _promise(point, name, held, class_names) if spec == point.spec.text else None
            found += [promise] if promise is not None else []
    return sorted(found, key=lambda promise: [point.name for point in points].index(promise.point))


def _promise(point: Point, name: str, held: dict[str, Record], class_names: Sequence[str]) -> Promise | None:
    """Return what the Records of one point and class say; None where they do not say all of it."""
    facts = {fact: held[f"{PREFIX}{fact}"].value for fact in _FACTS if f"{PREFIX}{fact}" in held}
    place = place_of(name, class_names)
    complete = len(facts) == len(_FACTS) and {MISSED, ALARMS, PRECISION} <= set(held)
    if not complete or place is None or not all(math.isfinite(value) for value in facts.values()):
        return None
    statements = int(facts.pop("statements"))
    rates = (held[MISSED], held[ALARMS], held[PRECISION])
    return Promise(
        point.name,
        name,
        place,
        facts["bound"],
        facts["threshold"],
        facts["confidence"],
        statements,
        facts["min_precision"],
        *rates,
    )


def place_of(name: str, class_names: Sequence[str]) -> int | None:
    """Return the number of a class; None where there is no such class.

    Example:
        >>> place_of("dog", ("cat", "dog")), place_of("3", ()), place_of("cow", ("cat",))
        (1, 3, None)
    """
    if name in class_names:
        return list(class_names).index(name)
    return int(name) if not class_names and name.isascii() and name.isdecimal() and len(name) < 9 else None


def found_classes(promises: Iterable[Promise], logits: Tensor) -> dict[str, Tensor]:
    """Return class name -> whether it is found in each row of logits (batch, classes), (batch,) bool.

    Example:
        >>> import torch
        >>> made = rates_at(Answers("", torch.zeros(2, 2), torch.tensor([0, 1]), ("cat", "dog")), 0, 0.3)
        >>> cat = Promise("p50", "cat", 0, 0.1, 0.3, 0.95, 1, 0.0, *made)
        >>> found_classes([cat], torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
        {'cat': tensor([ True, False])}
    """
    return {promise.class_name: promise.found(logits) for promise in promises}
