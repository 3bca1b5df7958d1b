"""The points of a family as the policy sees them: timed here and now, with their figures and bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from concertina.errors import BoundError, InputError
from concertina.family import Family
from concertina.family.runtimes import repeated
from concertina.measure.bounds import Bound
from concertina.measure.latency import Runner, latency
from concertina.serve.engines import Engine
from concertina.serve.policy import Offer
from concertina.types import Point

SAMPLES = 5
"""Clean samples that are wanted of each point; a server measures on as it runs."""


def timed(family: Family, engine: Engine, batches: Sequence[int], limit_s: float) -> dict[str, dict[int, float]]:
    """Return point -> batch -> median milliseconds of a call, all points in turns; each is called once at least.

    Args:
        family: The family.
        engine: What computes.
        batches: Batch sizes.
        limit_s: Most seconds for one batch size.
    """
    times: dict[str, dict[int, float]] = {point.name: {} for point in family.points}
    for batch in batches:
        inputs = tuple(repeated(tensor, batch) for tensor in family.core.example_inputs)
        runners = {name: _runner(engine, name, inputs) for name in times}
        for name, found in latency(runners, min_samples=SAMPLES, time_limit_s=limit_s, batch=batch).items():
            times[name][batch] = found.median_ms
    return times


def _runner(engine: Engine, point: str, inputs: tuple[Tensor, ...]) -> Runner:
    return lambda: engine(point, "", inputs)


def offers_of(family: Family, times: Mapping[str, Mapping[int, float]], floor: Sequence[str]) -> list[Offer]:
    """Return the points with their times, figures, and the first bound that each does not meet.

    Args:
        family: The family.
        times: Point -> batch -> milliseconds.
        floor: Bounds, as `Bound.read` takes them.

    Raises:
        InputError: A bound is not written as one, or there is no time above 0 of a point.
        BoundError: No point meets them.
    """
    _check_times(family, times)
    bounds = [Bound.read(text) for text in floor]
    offers = [
        Offer(
            point.name, point.macs, dict(times[point.name]), accuracy_of(family, point), _unmet(family, point, bounds)
        )
        for point in family.points
    ]
    if all(offer.barred for offer in offers):
        said = "; ".join(f"{offer.name}: {offer.barred}" for offer in offers)
        raise BoundError("no point meets the floor", asked=said, do="Measure the points, or lower the floor.")
    return offers


def _check_times(family: Family, times: Mapping[str, Mapping[int, float]]) -> None:
    for point in family.points:
        known = times.get(point.name, {})
        if not known or not all(batch >= 1 and 0 < time < math.inf for batch, time in known.items()):
            allowed = "batch size -> milliseconds above 0"
            raise InputError(f"times of point {point.name!r}", asked=repr(known)[:100], allowed=allowed)


def accuracy_of(family: Family, point: Point) -> float | None:
    """Return the headline figure of a point where more of it is better; None where there is none."""
    metric = family.task.metric
    return dict(point.metrics).get(metric.name) if metric.direction == "max" else None


def _unmet(family: Family, point: Point, bounds: Sequence[Bound]) -> str:
    for bound in bounds:
        found = bound.of(record for record in family.records if record.spec == point.spec.text)
        if not found:
            return f"{bound} (not measured)"
        if not bound.meets(found[-1]):
            return str(bound)
    return ""
