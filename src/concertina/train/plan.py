"""What a training step consists of: which points and random specs, who teaches them, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from concertina.errors import InputError
from concertina.nest import Supernet, random_spec
from concertina.train.recipes import RECIPES, Lesson, Phase
from concertina.train.schedule import Stretch, step_seed
from concertina.train.settings import TrainSettings
from concertina.types import SubnetSpec

EXACT_STEPS = 20_000
"""Most steps that a forecast draws one by one; of more it draws as many as this, evenly spread."""
BACKWARD = 2
"""A backward pass costs twice its forward pass: gradients of weights and of activations."""


@dataclass(frozen=True)
class StepPlan:
    """The passes of one step, in order."""

    points: tuple[str, ...]
    """Names of the points that are trained, the first of which may teach the others."""
    specs: tuple[SubnetSpec, ...]
    """Random specs of the whole space that are trained after them."""
    lessons: tuple[Lesson, ...]
    """What each learns from, points first."""

    @property
    def subjects(self) -> list[tuple[str | SubnetSpec, Lesson]]:
        """Everything that is trained, a point by its name, with what it learns from."""
        trained: tuple[str | SubnetSpec, ...] = (*self.points, *self.specs)
        return list(zip(trained, self.lessons, strict=True))

    @property
    def asks_core(self) -> bool:
        """Whether the frozen core runs too."""
        return any(lesson.core for lesson in self.lessons)

    def macs(self, supernet: Supernet, core: int) -> int:
        """Return the multiply-accumulates of the step for one input, backward and teacher passes included.

        Args:
            supernet: Tells what points and specs cost.
            core: MACs of one forward pass of the core.
        """
        trained = sum(macs_of(supernet, subject) for subject, _ in self.subjects)
        return core * self.asks_core + (1 + BACKWARD) * trained


def macs_of(supernet: Supernet, subject: str | SubnetSpec) -> int:
    """Return the multiply-accumulates of one forward pass of a point, given by its name, or of a spec."""
    return supernet.points[subject].macs if isinstance(subject, str) else supernet.costs.macs(subject)


def plan_step(
    stretch: Stretch, position: int, supernet: Supernet, settings: TrainSettings, generator: torch.Generator
) -> StepPlan:
    """Return the plan of step `position`; which points are trained is drawn from `generator`.

    Random specs have a source of their own, so that points are chosen alike with and without them. Where points join
    one by one, random specs come last.

    Args:
        stretch: The phase that the step belongs to.
        position: The step.
        supernet: Has the points and the space.
        settings: How to train.
        generator: Made with `step_generator`.
    """
    chosen = stretch.phase.sample(generator)
    names = stretch.admitted(position, list(supernet.points), chosen, settings.shrink_share)
    specs = _random_specs(stretch, position, supernet, settings)
    lessons = (_lesson(stretch.phase, place, settings) for place in range(len(names) + len(specs)))
    return StepPlan(names, specs, tuple(lessons))


def _random_specs(
    stretch: Stretch, position: int, supernet: Supernet, settings: TrainSettings
) -> tuple[SubnetSpec, ...]:
    if not stretch.phase.whole_space or stretch.done(position) < settings.shrink_share:
        return ()
    generator = torch.Generator().manual_seed(step_seed(settings.seed, position, "random specs"))
    return tuple(random_spec(supernet.space, generator) for _ in range(settings.random_specs))


def step_generator(settings: TrainSettings, position: int) -> torch.Generator:
    """Return the source of all that is random in step `position`."""
    return torch.Generator().manual_seed(step_seed(settings.seed, position))


def forecast(stretches: Sequence[Stretch], supernet: Supernet, core: int, settings: TrainSettings) -> int:
    """Return what all steps will cost in multiply-accumulates for each input of a batch.

    What a step draws depends on the seed and the step alone, so it is known beforehand.

    Exact up to `EXACT_STEPS` steps of a phase; beyond, random draws are taken from as many steps, evenly spread.

    Args:
        stretches: All phases with their steps; fresh ones, as a sampler may keep count of its draws.
        supernet: Has the points and the space, and tells what they cost.
        core: MACs of one forward pass of the core.
        settings: How to train.
    """
    total = 0
    for stretch in stretches:
        steps = stretch.stop - stretch.start
        drawn = range(stretch.start, stretch.stop, math.ceil(steps / EXACT_STEPS))
        plans = (plan_step(stretch, step, supernet, settings, step_generator(settings, step)) for step in drawn)
        total += sum(plan.macs(supernet, core) for plan in plans) * steps // len(drawn)
    return total


def check_room(recipe: str, settings: TrainSettings) -> None:
    """Refuse random specs where a recipe has no room for them.

    Raises:
        InputError: No phase of the recipe takes them.
        UnknownNameError: No such recipe.
    """
    if settings.random_specs and not _has_room(recipe):
        asked = f"{settings.random_specs} with recipe {recipe!r}, which trains one point at a time"
        others = ", ".join(filter(_has_room, RECIPES.names()))
        raise InputError("option random_specs", asked=asked, allowed=f"0, or recipes {others}")


def _has_room(recipe: str) -> bool:
    return any(phase.whole_space for phase in RECIPES.get(recipe)().phases(("small", "full"), 1.0))


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
