"""Promises: thresholds that bound the false-negative rates of chosen classes, point by point."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, TypedDict

from torch import Tensor

from concertina.audits import GUARANTEES, Guarantee
from concertina.errors import BoundError, DataError, InputError
from concertina.family.evidence import Measurable
from concertina.family.held_out import answered, check_classifier, chosen, class_place, held_out, keep
from concertina.load.data import TensorData
from concertina.measure.answers import Answers
from concertina.measure.machine import versions
from concertina.measure.promise import (
    PRECISION,
    Promise,
    curve_records,
    found_classes,
    promises_of,
    rates_at,
    threshold_for,
)
from concertina.train import Reporter
from concertina.types import Point, Record

log = logging.getLogger("concertina")


class PromiseOptions(TypedDict, total=False):
    """Options of `Family.promise`."""

    points: Sequence[str]
    """Names of the points; all unless said. The more promises are asked for together, the more samples they take."""
    min_precision: float | Mapping[str, float]
    """Precision under which nothing is promised: one for all classes, or class name -> share."""
    method: str
    """"binomial": all bounds hold together with 95% confidence; "conformal": each holds on average only."""
    progress: Reporter | None
    """Told now and then where the work stands."""


class Promises(tuple[Promise, ...]):
    """Promises, smallest point first; an ordinary tuple but for how it prints, and `at` and `decide`."""

    __slots__ = ()

    def at(self, point: str) -> dict[str, Promise]:
        """Return class name -> promise of one operating point.

        Args:
            point: Name of the point.
        """
        return {promise.class_name: promise for promise in self if promise.point == point and not promise.refused}

    def decide(self, logits: Tensor, point: str) -> dict[str, Tensor]:
        """Return class name -> whether the class is found in each row, (batch,) bool, for every protected class.

        Args:
            logits: What the point answered, (batch, classes).
            point: Name of the point.

        Raises:
            InputError: Nothing is promised of this point.
        """
        held = self.at(point)
        if not held:
            points = ", ".join(dict.fromkeys(promise.point for promise in self if not promise.refused))
            do = 'Call family.promise({"class": 0.05}, data).'
            raise InputError("promises of a point", asked=repr(point), allowed=points or "none is there yet", do=do)
        return found_classes(held.values(), logits)

    def __repr__(self) -> str:
        return "\n".join(_line(promise) for promise in self) or "no promises"


def _line(promise: Promise) -> str:
    what = f"{promise.point}  {promise.class_name}: at most {promise.bound:.3g} false negatives"
    if promise.refused:
        return f"{what}: refused, {promise.refused}"
    sure = f"{promise.confidence:.0%} confidence" if promise.confidence else "on average"
    rest = f"precision {promise.precision.value:.3f}, false positives {promise.false_positive_rate.value:.3f}"
    return f"{what} ({sure}) where p >= {promise.threshold:.4g}; {rest}"


def promise_family(
    family: Measurable,
    bounds: Mapping[str, float],
    source: Any,
    *,
    points: Sequence[str] = (),
    min_precision: float | Mapping[str, float] = 0.0,
    method: str = "binomial",
    progress: Reporter | None = None,
) -> Promises:
    """Find the thresholds, keep what is promised as Records and return it; see `Family.promise`."""
    check_classifier(family)
    check_protect(bounds, family.core.class_names)
    guarantee, floors = GUARANTEES.get(method)(), _floors(min_precision, bounds)
    data = held_out(family, source)
    wanted = chosen(family, points)
    statements = len(bounds) * len(wanted)
    made: list[Promise] = []
    curves: list[Record] = []
    for point, answer in zip(wanted, answered(family, data, wanted, "promising", progress), strict=True):
        check_samples(answer.labels, answer.class_names, bounds, guarantee, statements)
        for name, bound in bounds.items():
            asked = (name, float(bound), floors[name])
            made.append(_of_data(promise_at(point, answer, asked, guarantee, statements), data))
            curves += [] if made[-1].refused else curve_records(answer, made[-1].place)
    given = [promise for promise in made if not promise.refused]
    if not given:
        raise BoundError("no promise can be given", asked=_best(made), do="Lower the floor or loosen the bound.")
    for promise in made:
        if promise.refused:
            log.warning("nothing is promised of class %r at %r: %s", promise.class_name, promise.point, promise.refused)
    curves = [replace(record, data=data.fingerprint, versions=versions()) for record in curves]
    keep(family, [*curves, *(record for promise in given for record in promise.records())], data)
    return Promises(made)


def held_promises(family: Measurable) -> Promises:
    """Return the promises that a family's Records tell of."""
    return Promises(promises_of(family.records, family.points, family.core.class_names))


def check_protect(bounds: Mapping[str, float], class_names: Sequence[str], what: str = "bounds of a promise") -> None:
    """Refuse unknown classes and bounds that are none.

    Args:
        bounds: Class name -> largest false-negative rate.
        class_names: Names of the classes.
        what: Where they were given, to begin messages.

    Raises:
        InputError: There is no bound, or one is not above 0 and below 1.
        UnknownNameError: There is no such class.
    """
    if not isinstance(bounds, Mapping) or not bounds:
        raise InputError(what, asked=repr(bounds), allowed='class name -> rate, such as {"cat": 0.02}')
    for name, bound in bounds.items():
        class_place(name, class_names, what)
        if not isinstance(bound, Real) or isinstance(bound, bool) or not 0 < bound < 1:
            do = "No data can prove that nothing is ever missed." if bound == 0 else ""
            where, allowed = f"bound of class {name!r}", "a share above 0 and below 1"
            raise InputError(where, asked=repr(bound), allowed=allowed, do=do)


def _floors(given: float | Mapping[str, float], bounds: Iterable[str]) -> dict[str, float]:
    """Return class name -> least precision, 0 where none is asked for."""
    names = list(bounds)
    stated = dict(given) if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for name, floor in stated.items():
        if name not in names:
            raise InputError("min_precision", asked=repr(name), allowed=", ".join(names), do="Bound its rate too.")
        if not isinstance(floor, Real) or isinstance(floor, bool) or not 0 <= floor <= 1:
            raise InputError(f"min_precision of class {name!r}", asked=repr(floor), allowed="a share, 0 to 1")
    return {name: float(stated.get(name, 0.0)) for name in names}


def check_samples(
    labels: Tensor, class_names: Sequence[str], bounds: Mapping[str, float], guarantee: Guarantee, statements: int
) -> None:
    """Refuse classes of which there are too few samples, or nothing else, to support their bounds.

    Args:
        labels: Classes of the held-out data, (n,).
        class_names: Names of the classes.
        bounds: Class name -> largest false-negative rate.
        guarantee: How the bounds are held.
        statements: How many promises are asked for together.

    Raises:
        DataError: The text says how many samples would do.
    """
    for name, bound in bounds.items():
        place = class_place(name, class_names, "bounds of a promise")
        n, needed = int((labels == place).sum()), guarantee.samples(bound, statements)
        if n < needed:
            together = f", {statements} promises together" if statements > 1 else ""
            raise DataError(
                f"samples of class {name!r}, for at most {bound:g} false negatives{together}",
                asked=f"{n:,}",
                allowed=f"{needed:,} or more",
                do="Give more data, loosen the bound, or ask for fewer points and classes together.",
            )
        if n == len(labels):
            raise DataError(f"all samples are of class {name!r}", do="Give others too: precision needs them.")


def promise_at(
    point: Point, answer: Answers, asked: tuple[str, float, float], guarantee: Guarantee, statements: int
) -> Promise:
    """Return the promise of one point and class, refused where its precision would lie under the floor.

    Args:
        point: The point.
        answer: What it answered to held-out data with enough samples of the class, and others.
        asked: Class name, largest false-negative rate, least precision.
        guarantee: How the bound is held.
        statements: How many promises are asked for together.
    """
    name, bound, floor = asked
    place = class_place(name, answer.class_names, "bounds of a promise")
    scores = answer.probabilities[answer.labels == place, place]
    allowed = guarantee.misses(len(scores), bound, statements)
    threshold = threshold_for(scores, allowed)
    missed, alarms, precision = rates_at(answer, place, threshold)
    missed = replace(missed, low=0.0, high=guarantee.at_most(allowed, len(scores), statements))
    refused = ""
    if precision.value < floor:
        refused = f"precision would be {precision.value:.3f}, under the floor of {floor:g}"
    rates, confidence = (missed, alarms, precision), guarantee.confidence
    return Promise(point.name, name, place, bound, threshold, confidence, statements, floor, *rates, refused)


def _of_data(promise: Promise, data: TensorData) -> Promise:
    """Return the promise with the data and versions in all of its Records."""
    rates = ("false_negative_rate", "false_positive_rate", "precision")
    facts = {"data": data.fingerprint, "versions": versions()}
    return replace(promise, **{name: replace(getattr(promise, name), **facts) for name in rates})


def _best(refused: Sequence[Promise]) -> str:
    """Return how near the best refused promise of each class came to its floor."""
    found: dict[str, Promise] = {}
    for promise in refused:
        best = found.get(promise.class_name, promise)
        found[promise.class_name] = max(best, promise, key=lambda one: one.precision.value)
    return "; ".join(
        f"class {name!r} at {best.point!r}: {PRECISION.rpartition('_')[2]} {best.precision.value:.3f}"
        f" under the floor of {best.min_precision:g}"
        for name, best in found.items()
    )
