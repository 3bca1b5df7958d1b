"""A made-up space with a made-up metric: searches without a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from concertina.objective.base import Metric
from concertina.search import STRATEGIES, Goal, Journal, Problem, Study, Trial
from concertina.types import Dim, GrowthOrder, Member, Space, SubnetSpec

GATE = (Member("w", -1, "gate"),)
WIDTH = (Member("w", 0, "out"),)
SPACE = Space(
    (
        *(Dim(f"depth:b{i}", "depth", f"b{i}", (0, 1), GATE) for i in range(3)),
        *(
            Dim(f"width:b{i}.c", "width", f"b{i}.c", tuple(range(4, 36, 4)), WIDTH, needs=(f"depth:b{i}",))
            for i in range(3)
        ),
        *(Dim(f"width:s{i}", "width", f"s{i}", tuple(range(2, 18, 2)), WIDTH) for i in range(3)),
    )
)
WEIGHTS = (3.0, 0.3, 1.0)


def macs(spec: SubnetSpec) -> float:
    """Return a cost: stems, and blocks where they are there."""
    blocks = (spec[f"depth:b{i}"] * spec[f"width:b{i}.c"] * spec[f"width:s{i}"] for i in range(3))
    return float(sum(blocks) * 18 + sum(9 * spec[f"width:s{i}"] for i in range(3)))


def quality(spec: SubnetSpec) -> float:
    """Return an accuracy that some blocks matter more for than others."""
    lost = 0.02
    for i, weight in enumerate(WEIGHTS):
        lost += 0.1 * weight * math.exp(-spec[f"width:s{i}"] / 3)
        lost += 0.05 * weight * (math.exp(-spec[f"width:b{i}.c"] / 9) if spec[f"depth:b{i}"] else 1.5)
    return max(0.1, 1 - lost)


def growth() -> GrowthOrder:
    """Return an order that takes dim by dim."""
    return GrowthOrder(SPACE, tuple(i for i, dim in enumerate(SPACE.dims) for _ in dim.choices[1:]))


def problem(seed: int = 0, **bounds: float) -> Problem:
    goal = Goal(Metric("accuracy", "max"), "macs", macs, **bounds)
    return Problem(growth(), goal, (SPACE.full,), seed, effort=100)


def study(strategy: str, journal: Journal | None = None, seed: int = 0, **bounds: float) -> Study:
    return Study(STRATEGIES.get(strategy)(problem(seed, **bounds)), journal or Journal(None, {}))


def measured(specs: Sequence[SubnetSpec]) -> Iterator[float]:
    return map(quality, specs)


def searched(strategy: str, trials: int, seed: int = 0, **bounds: float) -> list[Trial]:
    made = study(strategy, seed=seed, **bounds)
    made.run(measured, trials, lambda _stage, _done: None)
    return made.trials
