"""Which operating point, or which subnet, a user means; points of the file that have not been read count too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from concertina.errors import PointError
from concertina.family.calibrated import spec_within
from concertina.family.dial import Budget, here, largest_that_fits, one_budget, point_called, refuse_off_point
from concertina.family.outputs import cut_name, cut_point
from concertina.family.persist import Opened
from concertina.nest import Supernet
from concertina.nest.supernet import point_name
from concertina.types import Point, SubnetSpec

Asked = float | SubnetSpec | None
"""A share of the core's MACs, or a spec; None where a budget is given by name."""
Latencies = Callable[[Budget], dict[str, float]]
"""Gives point name -> milliseconds for the batch and threads of a budget."""


class Chooser:
    """Finds points and specs of a family.

    Args:
        supernet: The family's subnets.
        opened: The file it was read from, when it was.
    """

    def __init__(self, supernet: Supernet, opened: Opened | None) -> None:
        self._supernet, self._opened = supernet, opened

    @property
    def present(self) -> tuple[Point, ...]:
        """The operating points that are here, smallest first."""
        return tuple(self._supernet.points.values())

    @property
    def stored(self) -> tuple[Point, ...]:
        """All operating points, smallest first, those included that are in the file but have not been read."""
        unread = self._opened.unread(self._supernet) if self._opened is not None else ()
        return tuple(sorted((*self.present, *unread), key=lambda point: point.macs)) if unread else self.present

    def point(self, share: Asked, budget: Budget, latencies: Latencies) -> Point:
        """Return the largest operating point that fits, or the one named; errors as for `Family.at`."""
        rest: Budget = {key: value for key, value in budget.items() if key != "outputs"}  # type: ignore[assignment]
        outputs: object = budget.get("outputs")
        if isinstance(rest.get("point"), str):
            plain, number = cut_name(rest["point"], self._supernet.space)
            if number is not None and outputs is not None:
                raise PointError("outputs", asked=f"{number} and {outputs}", allowed="one of both")
            rest["point"], outputs = plain, number if number is not None else outputs
        point = self._whole_point(share, rest, latencies)
        return point if outputs is None else cut_point(self._supernet, point, outputs)

    def _whole_point(self, share: Asked, budget: Budget, latencies: Latencies) -> Point:
        """Return an operating point with all of its outputs."""
        if isinstance(share, SubnetSpec):
            return self._of_spec(self._supernet.space.check(share))
        kind, limit = one_budget(share, budget)
        if kind == "latency_ms":
            return self._within_latency(limit, latencies(budget))
        if kind == "point":
            return here(point_called(self.stored, str(limit)), self.present)
        return here(largest_that_fits(self.stored, kind, limit), self.present)  # type: ignore[arg-type]

    def spec(self, share: Asked, budget: Budget) -> tuple[SubnetSpec, int]:
        """Return the largest subnet that fits, as its spec and position on the growth order (-1 where it has none).

        Raises:
            PointError: A part of it has not been read, or the budget is a latency.
            BudgetError, SpecError: As for `Family.at`.
        """
        name = budget.get("point")
        if "outputs" in budget or (isinstance(name, str) and cut_name(name, self._supernet.space)[1] is not None):
            do = "Leave the number out, and cut what the subnet gives: subnet(x)[:, :128]."
            raise PointError("outputs of a calibrated subnet stay whole", do=do)
        if isinstance(share, SubnetSpec):
            spec, position = self._supernet.space.check(share), -1
        else:
            kind, limit = one_budget(share, budget)
            if kind == "point":
                point = here(point_called(self.stored, str(limit)), self.present)
                return point.spec, point.position
            spec, position = spec_within(self._supernet, kind, limit)
        if self._opened is not None and not self._supernet.space.covers(self._opened.spec, spec):
            raise PointError(
                "a part of this subnet is in the file but has not been read",
                do="Call family.grow(), or open the file without upto=.",
            )
        return spec, position

    def _of_spec(self, spec: SubnetSpec) -> Point:
        for point in self.stored:
            if point.spec == spec:
                return here(point, self.present)
        costs = self._supernet.costs
        whole = costs.macs(self._supernet.space.full)
        raise refuse_off_point(self.stored, costs.macs(spec), whole, f"subnet {spec.digest}")

    def _within_latency(self, limit: object, latencies: dict[str, float]) -> Point:
        """Return the largest point that is fast enough, unless a larger one that has not been read might be too."""
        chosen = largest_that_fits(self.present, "latency_ms", limit, latencies)  # type: ignore[arg-type]
        too_slow = min((point.macs for point in self.present if point.macs > chosen.macs), default=math.inf)
        between = [point for point in self.stored if chosen.macs < point.macs < too_slow]
        return here(between[0], self.present) if between else chosen


def new_point(supernet: Supernet, stored: Sequence[Point], spec: SubnetSpec, position: int, name: str) -> Point:
    """Return a subnet as an operating point to be; see `Family.keep`.

    Args:
        supernet: The family's subnets.
        stored: All operating points there are.
        spec: The subnet.
        position: Its position on the growth order, -1 where it has none.
        name: What to call it; by its share where that is empty.

    Raises:
        PointError: It is an operating point already, or the name is taken.
    """
    names = [point.name for point in stored]
    known = next((point.name for point in stored if point.spec == spec), "")
    if known:
        raise PointError(f"this subnet is an operating point already: {known!r}")
    point = supernet.point("", spec, position)
    point = replace(point, name=name or (point_name(point.share, names) if position >= 0 else f"x-{spec.digest}"))
    if point.name in names or not isinstance(point.name, str) or not point.name.isprintable():
        raise PointError("name of a new point", asked=repr(name), allowed=f"any but {', '.join(names)}")
    return point
