"""The dial: from a budget to the largest operating point that fits it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TypedDict

from concertina.errors import BudgetError, PointError, did_you_mean
from concertina.types import Point


class Budget(TypedDict, total=False):
    """What a subnet may cost, one of these at a time (batch and threads go with latency_ms)."""

    macs: float
    """Multiply-accumulates for one input."""
    params: float
    """Parameters."""
    size_bytes: float
    """Bytes of all tensors."""
    latency_ms: float
    """Median time of one call on this machine."""
    batch: int
    """Inputs in one call, with latency_ms; 1 unless said."""
    threads: int
    """Threads of the call, with latency_ms; as torch is set unless said."""
    point: str
    """Name of an operating point; "p50:128" for its first 128 outputs."""
    outputs: int
    """How many outputs, for embeddings that can be cut; goes with any of the others."""


COSTS: Mapping[str, tuple[str, Callable[[Point], float]]] = {
    "share": ("of the core's MACs", lambda point: point.share),
    "macs": ("MACs", lambda point: point.macs),
    "params": ("parameters", lambda point: point.params),
    "size_bytes": ("bytes", lambda point: point.size_bytes),
}


def largest_that_fits(
    points: Sequence[Point], kind: str, limit: float, latencies_ms: Mapping[str, float] | None = None
) -> Point:
    """Return the point with the most MACs whose cost is within `limit`.

    Args:
        points: Operating points.
        kind: "share", "macs", "params", "size_bytes" or "latency_ms".
        limit: The budget, in that unit.
        latencies_ms: Point name -> milliseconds, for "latency_ms".

    Raises:
        BudgetError: Nothing fits; the text names the smallest possible budget.

    Example:
        >>> from concertina.types import Point, SubnetSpec
        >>> spec = SubnetSpec.of({})
        >>> points = [Point("p50", spec, 1, 50, 5, 20, 0.5), Point("p100", spec, 2, 100, 9, 36, 1.0)]
        >>> largest_that_fits(points, "share", 0.7).name
        'p50'
    """
    if kind == "latency_ms":
        unit, cost = "ms", lambda point: (latencies_ms or {})[point.name]
    else:
        unit, cost = COSTS[kind]
    if not isinstance(limit, Real) or isinstance(limit, bool) or not limit > 0:
        raise BudgetError(f"budget {kind}", asked=repr(limit), allowed="a number above 0")
    if kind == "share" and limit > 1:
        raise BudgetError(
            "share of the core's MACs",
            asked=f"{limit:g}",
            allowed="above 0, up to 1",
            do="For a number of MACs use macs=.",
        )
    fitting = [point for point in points if cost(point) <= limit * (1 + 1e-9)]
    if not fitting:
        least, which = min(points, key=cost), "fastest" if kind == "latency_ms" else "smallest"
        raise BudgetError(
            f"no operating point fits {kind}={limit:g}",
            allowed=f"{_figure(cost(least))} {unit} or more (the {which} point, {least.name!r})",
        )
    return max(fitting, key=lambda point: (point.macs, point.name))


def point_called(points: Sequence[Point], name: str) -> Point:
    """Return the point called `name`.

    Raises:
        PointError: There is none; the text names those there are.
    """
    for point in points:
        if point.name == name:
            return point
    names = [point.name for point in points]
    raise PointError(
        "unknown operating point", asked=repr(name), allowed=", ".join(names), do=did_you_mean(name, names)
    )


def here(point: Point, present: Sequence[Point]) -> Point:
    """Return `point` if it has been read from the family's file.

    Args:
        point: A point that the file holds.
        present: The points that have been read, smallest first.

    Raises:
        PointError: It has not; the text says how to read on.
    """
    for one in present:
        if one.name == point.name:
            return one
    raise PointError(
        f"operating point {point.name!r} is in the file but has not been read",
        asked=f"a family read up to {present[-1].name!r}" if present else "",
        do=f"Call family.grow({point.name!r}), or open the file without upto=.",
    )


def refuse_off_point(points: Sequence[Point], macs: int, whole: int, what: str) -> PointError:
    """Return the error for a subnet that is no operating point, naming the nearest ones."""
    below = [point for point in points if point.macs <= macs]
    above = [point for point in points if point.macs > macs]
    near = [f"{point.name!r} ({point.share:.1%})" for point in (*below[-1:], *above[:1])]
    return PointError(
        f"{what} ({macs / whole:.1%} of the MACs) is no operating point: it has no statistics of its own",
        allowed=" or ".join(near),
        do="Give calibrate=data.",
    )


def one_budget(share: object, budget: Budget) -> tuple[str, object]:
    """Return the one (kind, limit) that was asked for.

    Raises:
        BudgetError: None or several were given, or a name is unknown.
    """
    known = set(Budget.__annotations__)
    unknown = sorted(set(budget) - known)
    if unknown:
        do = did_you_mean(unknown[0], known)
        raise BudgetError("unknown budget", asked=", ".join(unknown), allowed=", ".join(sorted(known)), do=do)
    given: dict[str, object] = {k: v for k, v in budget.items() if k not in ("batch", "threads")}
    if share is not None:
        given["share"] = share
    if len(given) != 1:
        raise BudgetError(
            "one budget at a time",
            asked=", ".join(sorted(given)) or "none",
            allowed="a share of the MACs, or one of macs=, params=, size_bytes=, latency_ms=, point=",
        )
    ((kind, limit),) = given.items()
    if kind != "latency_ms" and ("batch" in budget or "threads" in budget):
        raise BudgetError("batch= and threads= go with latency_ms=", asked=kind)
    for name in ("batch", "threads"):
        number = budget.get(name)
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
            raise BudgetError(f"budget latency_ms, {name}", asked=repr(number), allowed="a whole number, 1 or more")
    return kind, limit


def _figure(value: float) -> str:
    return f"{value:.4g}" if value < 1000 else f"{value:,.0f}"
