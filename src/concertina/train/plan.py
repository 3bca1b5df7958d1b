"""What a training step consists of: which points, who teaches them, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from concertina.errors import InputError
from concertina.train.recipes import Lesson, Phase
from concertina.train.schedule import Stretch, step_seed
from concertina.train.settings import TrainSettings

EXACT_STEPS = 20_000
"""Most steps that a forecast draws one by one; of more it draws as many as this, evenly spread."""
BACKWARD = 2
"""A backward pass costs twice its forward pass: gradients of weights and of activations."""


@dataclass(frozen=True)
class StepPlan:
    """The passes of one step, in order."""

    points: tuple[str, ...]
    """Names of the points that are trained, the first of which may teach the others."""
    lessons: tuple[Lesson, ...]
    """What each learns from."""

    @property
    def asks_core(self) -> bool:
        """Whether the frozen core runs too."""
        return any(lesson.core for lesson in self.lessons)

    def macs(self, macs: Mapping[str, int], core: int) -> int:
        """Return the multiply-accumulates of the step for one input, backward and teacher passes included.

        Args:
            macs: Point name -> MACs of one forward pass.
            core: MACs of one forward pass of the core.
        """
        return core * self.asks_core + (1 + BACKWARD) * sum(macs[name] for name in self.points)


def plan_step(
    stretch: Stretch, position: int, points: Sequence[str], settings: TrainSettings, generator: torch.Generator
) -> StepPlan:
    """Return the plan of step `position`; what is random in it is drawn from `generator`.

    Args:
        stretch: The phase that the step belongs to.
        position: The step.
        points: Names of all points, smallest first.
        settings: How to train.
        generator: Made with `step_generator`.
    """
    chosen = stretch.phase.sample(generator)
    names = stretch.admitted(position, points, chosen, settings.shrink_share)
    return StepPlan(names, tuple(_lesson(stretch.phase, place, settings) for place in range(len(names))))


def step_generator(settings: TrainSettings, position: int) -> torch.Generator:
    """Return the source of all that is random in step `position`."""
    return torch.Generator().manual_seed(step_seed(settings.seed, position))


def forecast(stretches: Sequence[Stretch], macs: Mapping[str, int], core: int, settings: TrainSettings) -> int:
    """Return what all steps will cost in multiply-accumulates for each input of a batch.

    What a step draws depends on the seed and the step alone, so it is known beforehand.

    Exact up to `EXACT_STEPS` steps of a phase; beyond, random draws are taken from as many steps, evenly spread.

    Args:
        stretches: All phases with their steps; fresh ones, as a sampler may keep count of its draws.
        macs: Point name -> MACs of one forward pass, smallest point first.
        core: MACs of one forward pass of the core.
        settings: How to train.
    """
    points, total = list(macs), 0
    for stretch in stretches:
        steps = stretch.stop - stretch.start
        drawn = range(stretch.start, stretch.stop, math.ceil(steps / EXACT_STEPS))
        plans = (plan_step(stretch, step, points, settings, step_generator(settings, step)) for step in drawn)
        total += sum(plan.macs(macs, core) for plan in plans) * steps // len(drawn)
    return total


def check_teachers(recipe: str, stretches: Sequence[Stretch], settings: TrainSettings) -> None:
    """Refuse settings under which a point would learn from nobody.

    Raises:
        InputError: They leave a recipe without its only teacher.
    """
    for stretch in stretches:
        for place in range(2):
            lesson = _lesson(stretch.phase, place, settings)
            if not (lesson.labels or lesson.core or (lesson.full and place)):
                do = "Give distill_weight above 0, or another recipe."
                asked = f"distill_weight={settings.distill_weight:g}"
                raise InputError(f"recipe {recipe!r} has nothing to learn from but the core", asked=asked, do=do)


def _lesson(phase: Phase, place: int, settings: TrainSettings) -> Lesson:
    """Return what the point at `place` of a step learns from, the core's teaching weighed by the settings."""
    lesson = phase.rest if place else phase.first
    core = lesson.core * settings.distill_weight
    if place == 0 and not lesson.core:
        core = settings.full_from_core
    return replace(lesson, core=core)
