"""How far to read: from what the user asked for to the last blob that is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from concertina.errors import BudgetError, PointError, TruncatedError, did_you_mean
from concertina.save.manifest import AVAILABLE
from concertina.save.plan import Part
from concertina.types import Point

Upto = str | float | None
"""A point's name, "available", a share of the core's MACs, or None for everything."""


def last_part(planned: Sequence[Part], present: int, upto: Upto) -> int:
    """Return the index of the last blob to read.

    Args:
        planned: All blobs but the tables, in file order.
        present: How many of them are wholly in the file, from the first on.
        upto: What is asked for.

    Raises:
        PointError: No point has this name, or `upto` is neither name nor share.
        BudgetError: No point is as small as this share.
        TruncatedError: The file ends before; names the largest point that is wholly there.
    """
    if upto == AVAILABLE:
        ends = [i for i in range(present) if planned[i].completes or i == len(planned) - 1]
        if not ends:
            raise truncated(planned, present, "the smallest point")
        return ends[-1]
    if upto is None:
        last = len(planned) - 1
    elif isinstance(upto, str):
        last = _named(planned, upto)
    else:
        last = _fitting(planned, upto)
    if last >= present:
        raise truncated(planned, present, "everything" if upto is None else f"upto={upto!r}")
    return last


def truncated(planned: Sequence[Part], present: int, asked: str) -> TruncatedError:
    """Return the error for a file that ends before what was asked for."""
    points = [point for part in planned[:present] for point in part.completes]
    largest = max(points, key=lambda point: point.share, default=None)
    allowed = (
        f"upto={largest.name!r}, the largest point that is wholly there" if largest else "no point is wholly there"
    )
    do = f"Open with upto={AVAILABLE!r}, or get the rest of the file." if largest else "Get the rest of the file."
    return TruncatedError("file cut short", asked=asked, allowed=allowed, do=do)


def _named(planned: Sequence[Part], name: str) -> int:
    for i, part in enumerate(planned):
        if any(point.name == name for point in part.completes):
            return i
    names = [point.name for point in _points(planned)]
    allowed = ", ".join(names) or "no points"
    raise PointError("upto=", asked=repr(name), allowed=allowed, do=did_you_mean(name, names))


def _fitting(planned: Sequence[Part], share: float) -> int:
    """Return the last blob of the stage of the largest point on the order that fits the share."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not math.isfinite(share):
        raise PointError("upto=", asked=repr(share), allowed=f"a point's name, a share of the MACs, {AVAILABLE!r}")
    on_order = [point for point in _points(planned) if point.position >= 0]
    fitting = [point for point in on_order if point.share <= share + 1e-9]
    if not fitting:
        smallest = min(on_order, key=lambda point: point.share, default=None)
        allowed = f"{smallest.share:.4g} ({smallest.name!r}) or more" if smallest else "no points"
        raise BudgetError("upto=", asked=f"{share:.4g} of the MACs", allowed=allowed)
    stage = planned[_named(planned, max(fitting, key=lambda point: point.position).name)].stage
    return max(i for i, part in enumerate(planned) if part.stage == stage)


def _points(planned: Sequence[Part]) -> list[Point]:
    return [point for part in planned for point in part.completes]
