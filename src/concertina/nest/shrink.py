"""The growth order by measurement: take away, turn by turn, what the loss misses least for its price."""

from __future__ import annotations

import math
from collections.abc import Callable

from concertina.nest.growth import Price, costs_nothing, free_steps
from concertina.types import GrowthOrder, Space, SubnetSpec

RUNS_PER_DIM = 4
"""A turn takes about a quarter of a dim's steps, so that small networks are reached in few turns."""
DIMS_PER_RUN = 16
"""A turn takes one run for every so many dims that can still shrink, and at least one."""
BREADTH = 8
"""How many runs, the most promising by what was last seen of them, are measured a turn."""

Change = tuple[str, ...]
"""Names of the dims of one run in the order in which it grows, one name a step."""


def shrink_order(
    space: Space,
    price: Price,
    loss_of: Callable[[SubnetSpec], float],
    progress: Callable[[float], None] | None = None,
    turned: Callable[[SubnetSpec], None] | None = None,
) -> GrowthOrder:
    """Return the order whose reverse takes away, at each turn, the runs that raise the loss least for what they save.

    Other than worths that were measured one by one in the full network, a turn's losses are measured in the network as
    it has shrunk so far: an eighth of a block's channels may be worth nothing, and a block may be missed only while
    another is there.

    Args:
        space: The dims.
        price: What a spec takes up; less than 1 saved counts as 1.
        loss_of: Measures a spec; what is not finite counts as the largest loss.
        progress: Told the share of the price gone.
        turned: Told what is left after each turn, before it is measured.

    Source: greedy measured shrinking, Yang et al. 2018, NetAdapt (arXiv:1804.03230).
    """
    spec, whole = space.full, price(space.full)
    now = loss_of(spec)
    seen: dict[str, float] = {}
    removed: list[Change] = []
    names = [dim.name for dim in space.dims if not costs_nothing(dim)]
    while True:
        offers = {name: found for name in names if (found := _without(space, spec, name)) is not None}
        if not offers:
            return GrowthOrder(space, (*free_steps(space), *_grown(space, removed)))
        paid = price(spec)
        for name in sorted(offers, key=lambda name: seen.get(name, -math.inf))[:BREADTH]:
            less = offers[name][0]
            rise = loss_of(less) - now
            seen[name] = rise / max(1, paid - price(less)) if math.isfinite(rise) else math.inf
        ranked = sorted(offers, key=lambda name: (seen.get(name, math.inf), name))
        for name in ranked[: max(1, len(offers) // DIMS_PER_RUN)]:
            found = _without(space, spec, name)
            if found is not None:
                spec = found[0]
                removed.append(found[1])
        if turned is not None:
            turned(spec)
        now = loss_of(spec)
        if progress is not None:
            progress(1 - price(spec) / whole)


def num_measurements(space: Space) -> int:
    """Return about how many losses `shrink_order` measures; a measured subnet has half of the MACs on average."""
    dims = [dim for dim in space.dims if not costs_nothing(dim)]
    runs = sum(1 if dim.is_gate else min(RUNS_PER_DIM, len(dim.choices) - 1) for dim in dims)
    return -(-runs // max(1, len(dims) // DIMS_PER_RUN)) * (BREADTH + 1)


def _without(space: Space, spec: SubnetSpec, name: str) -> tuple[SubnetSpec, Change] | None:
    """Return the spec without one run of a dim, and the run; None where there is nothing left to take."""
    dim = space.by_name[name]
    level = dim.choices.index(spec[name])
    if level == 0 or any(spec[need] == 0 for need in dim.needs):
        return None
    if not dim.is_gate:
        count = min(level, -(-(len(dim.choices) - 1) // RUNS_PER_DIM))
        return spec.with_choice(name, dim.choices[level - count]), (name,) * count
    inside = [other for other in space.dims if name in other.needs]
    floors = {other.name: other.choices[0] for other in inside}
    run = [other.name for other in inside for _ in range(other.choices.index(spec[other.name]))]
    return SubnetSpec.of({**dict(spec.choices), **floors, name: 0}), (name, *run)


def _grown(space: Space, removed: list[Change]) -> tuple[int, ...]:
    index = {dim.name: i for i, dim in enumerate(space.dims)}
    return tuple(index[name] for run in reversed(removed) for name in run)
