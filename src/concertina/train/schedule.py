"""When what happens: phases as stretches of steps, the learning rate within them, and a seed for every step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from concertina.errors import TrainingError
from concertina.train.recipes import Phase
from concertina.train.settings import TrainSettings


@dataclass(frozen=True)
class Stretch:
    """A phase with the steps it covers."""

    phase: Phase
    start: int
    """First step."""
    stop: int
    """One past the last step."""

    def done(self, position: int) -> float:
        """Return the share of the stretch that is behind, 0 to 1, when `position` steps are done in all."""
        return (position - self.start) / (self.stop - self.start)

    def rate(self, position: int, settings: TrainSettings) -> float:
        """Return the learning rate of step `position`: a straight rise, then a cosine down to a thousandth."""
        done, warmup = self.done(position + 1), max(settings.warmup_share, 1e-9)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, (done - warmup) / (1 - warmup)))))
        return settings.learning_rate * max(min(done / warmup, fall), 1e-3)

    def press(self, position: int) -> float:
        """Return what step `position` adds to the phase's press: it grows evenly, and all steps sum to the whole."""
        steps, step = self.stop - self.start, position - self.start + 1
        return self.phase.press * 2 * step / (steps * (steps + 1))

    def admitted(self, position: int, points: Sequence[str], chosen: tuple[str, ...], share: float) -> tuple[str, ...]:
        """Return the points to train: those whose turn has not come are replaced by the smallest whose turn has.

        Args:
            position: The step.
            points: All points, smallest first.
            chosen: Points that the phase's sampler chose.
            share: Share of the stretch over which points join; 0 admits all from the start.
        """
        if share <= 0 or len(chosen) < 2:
            return chosen
        smallest = max(0, len(points) - 2 - int(self.done(position) / share * (len(points) - 1)))
        return tuple(dict.fromkeys(points[max(smallest, points.index(name))] for name in chosen))


def stretches(phases: Sequence[Phase], steps: int) -> list[Stretch]:
    """Return phases with their steps, in proportion to their epochs, each of one step or more.

    Raises:
        TrainingError: There are fewer steps than phases.
    """
    total = sum(phase.epochs for phase in phases)
    bounds, done = [0], 0.0
    for phase in phases:
        done += phase.epochs
        bounds.append(max(bounds[-1] + 1, round(steps * done / total)))
    if bounds[-1] > steps:
        raise TrainingError("too few steps for the recipe", asked=f"{steps}", allowed=f"{len(phases)} or more")
    return [Stretch(p, a, b) for p, a, b in zip(phases, bounds, bounds[1:], strict=False)]


def step_seed(seed: int, step: int, use: str = "") -> int:
    """Return the seed of one step: the same on every machine and every rank.

    Example:
        >>> step_seed(0, 1) == step_seed(0, 1), step_seed(0, 1) == step_seed(0, 2)
        (True, False)
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{use}".encode()).digest()[:7], "big")
