"""What is put on the server: a steady overload and a step in the load, both found by raising the load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from concertina.bench.serving.arrivals import Phase
from concertina.bench.serving.trial import Load, Trial
from concertina.errors import ConcertinaError

STEADY, BURST = "steady overload", "step in the load"
SCENARIOS = (STEADY, BURST)
MISSED = 0.5
"""In the overload the full network alone misses the budget for more than this share of its requests."""
WANTED_IN_TIME = 0.44
"""Share in time at which raising the load ends: enough below a half for single rounds to stay there."""
LEAST_STEP, LARGEST_STEP, MOST_STEPS = 1.08, 2.0, 12
CALM = 0.25
"""Load before and after the step, over the load in it."""
STEP_SHARE = 0.4
"""Share of the time that the step takes."""


@dataclass(frozen=True)
class Step:
    """One load that was tried on the full network alone."""

    per_s: float
    in_time: float
    """Share of requests answered within the budget."""


def overload(probe: Callable[[float], Trial], first_per_s: float, budget_ms: float) -> list[Step]:
    """Raise the load until the full network alone misses the budget for over half; return what was tried, in order.

    Args:
        probe: Requests a second -> what came of them with the full network alone.
        first_per_s: Where to begin.
        budget_ms: Of every request.

    Raises:
        ConcertinaError: It never does.
    """
    steps, per_s = list[Step](), first_per_s
    for _ in range(MOST_STEPS):
        share = float(np.mean(probe(per_s).in_time(budget_ms)))
        steps.append(Step(per_s, share))
        if share <= WANTED_IN_TIME:
            return steps
        per_s *= min(max(share / WANTED_IN_TIME, LEAST_STEP), LARGEST_STEP)
    tried = ", ".join(f"{step.per_s:.0f}/s" for step in steps)
    raise ConcertinaError("no load makes the full network late", asked=tried, do="Take a larger network.")


def load_of(scenario: str, per_s: float, seconds: float, seed: int) -> Load:
    """Return the load of a scenario.

    Args:
        scenario: One of `SCENARIOS`.
        per_s: The overload, requests a second.
        seconds: How long requests arrive.
        seed: Of the arrivals.
    """
    if scenario == STEADY:
        return Load((Phase(per_s, seconds),), seed)
    around = Phase(CALM * per_s, (1 - STEP_SHARE) / 2 * seconds)
    return Load((around, Phase(per_s, STEP_SHARE * seconds), around), seed)
