"""When requests arrive: a Poisson process whose rate may step up and down."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """A stretch of time with one rate."""

    per_s: float
    """Mean requests a second, above 0."""
    seconds: float


def arrivals(phases: Sequence[Phase], seed: int) -> list[float]:
    """Return the seconds at which requests arrive, rising from 0: gaps are exponential, each phase at its rate.

    Args:
        phases: One after the other.
        seed: The same seed gives the same arrivals.

    Example:
        >>> times = arrivals([Phase(100.0, 2.0), Phase(10.0, 2.0)], seed=0)
        >>> sum(time < 2 for time in times) > 5 * sum(time >= 2 for time in times)
        True
    """
    chance, found, start = random.Random(seed), [], 0.0
    for phase in phases:
        found += [start + time for time in _within(phase, chance)]
        start += phase.seconds
    return found


def _within(phase: Phase, chance: random.Random) -> Iterator[float]:
    """Yield arrivals from the start of a phase; a Poisson process has no memory, so each phase begins anew."""
    time = chance.expovariate(phase.per_s)
    while time < phase.seconds:
        yield time
        time += chance.expovariate(phase.per_s)
