"""Specs for search: read off the growth order, changed by a step, and as numbers for a predictor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from concertina.types import GrowthOrder, Space, SubnetSpec


def from_levels(space: Space, levels: Mapping[str, int]) -> SubnetSpec:
    """Return the spec whose dims stand at the given places among their choices, repaired to its canonical form."""
    return space.check(SubnetSpec.of({dim.name: dim.choices[levels[dim.name]] for dim in space.dims}))


def to_levels(space: Space, spec: SubnetSpec) -> dict[str, int]:
    """Return dim name -> place of its choice, from 0."""
    return {dim.name: dim.choices.index(spec[dim.name]) for dim in space.dims}


def prefixes(order: GrowthOrder, cost_of: Callable[[SubnetSpec], float], count: int) -> list[SubnetSpec]:
    """Return up to `count` prefixes of the growth order, their costs spread evenly on a log axis, smallest first."""
    specs = [order.space.check(order.spec(position)) for position in range(len(order) + 1)]
    places = [math.log(max(cost_of(spec), 1e-12)) for spec in specs]
    wanted = np.linspace(places[0], places[-1], count)
    chosen = (int(np.argmin(np.abs(np.array(places) - place))) for place in wanted)
    return [specs[i] for i in dict.fromkeys(chosen)]


def neighbours(space: Space, spec: SubnetSpec) -> list[SubnetSpec]:
    """Return every spec that differs from `spec` by one step of one dim."""
    found = []
    for dim in space.dims:
        level = dim.choices.index(spec[dim.name])
        around = (other for other in (level - 1, level + 1) if 0 <= other < len(dim.choices))
        found += [space.check(spec.with_choice(dim.name, dim.choices[other])) for other in around]
    return [other for other in dict.fromkeys(found) if other != spec]


def as_numbers(space: Space, specs: Sequence[SubnetSpec]) -> NDArray[np.float64]:
    """Return (specs, dims) numbers from 0 (floor) to 1 (original); sizes by their logarithm, since ratios matter."""
    tables = [(dim.name, dict(zip(dim.choices, _scale(dim.choices), strict=True))) for dim in space.dims]
    return np.array([[table[spec[name]] for name, table in tables] for spec in specs], dtype=np.float64)


def _scale(choices: Sequence[int]) -> list[float]:
    low, high = choices[0], choices[-1]
    if low > 0 and high > low:
        return [math.log(choice / low) / math.log(high / low) for choice in choices]
    return [place / max(1, len(choices) - 1) for place in range(len(choices))]
