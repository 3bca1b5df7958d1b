"""The one shape of a recipe: a list of phases, each a plain value that the loop carries out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from concertina.registry import Registry

Sampler = Callable[[torch.Generator], tuple[str, ...]]


@dataclass(frozen=True)
class Lesson:
    """What a subnet learns from in one pass: the weight of each teacher, 0 for none."""

    labels: float = 0.0
    """The labels of the data."""
    full: float = 0.0
    """Outputs of the first subnet of the same step (in-place distillation)."""
    core: float = 0.0
    """Outputs of the frozen core."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one way of choosing subnets and teaching them."""

    name: str
    epochs: float
    """Passes over the training data; may be a fraction."""
    sample: Sampler
    """Points to train in one step, in order; the first may teach the others."""
    first: Lesson = Lesson(labels=1.0)
    """What the first point of a step learns from."""
    rest: Lesson = Lesson(full=1.0)
    """What the others learn from."""
    frozen: str = ""
    """Name of a point whose weights this phase must leave bit for bit as they are."""
    whole_space: bool = False
    """Whether random specs of the whole space may join its steps; then the first point of a step is the largest."""
    press: float = 0.0
    """How many e-folds what smaller points leave out decays by over the phase, beside its training."""


class Recipe(ABC):
    """A way to train a family; final classes only, found through `RECIPES`."""

    name: str

    @abstractmethod
    def phases(self, points: Sequence[str], epochs: float) -> list[Phase]:
        """Return the phases that train `points` (smallest first) in `epochs` passes over the data in all."""

    @property
    def needs_labels(self) -> bool:
        """Whether any pass learns from labels."""
        return any(phase.first.labels or phase.rest.labels for phase in self.phases(("small", "full"), 1.0))


RECIPES: Registry[type[Recipe]] = Registry("recipe")


def only(name: str) -> Sampler:
    """Return a sampler of one point, always the same."""
    return lambda _generator: (name,)


def every(points: Sequence[str]) -> Sampler:
    """Return a sampler of all points, largest first."""
    names = tuple(reversed(points))
    return lambda _generator: names


def largest_smallest_random(points: Sequence[str], num_random: int = 2) -> Sampler:
    """Return a sampler of the largest, up to `num_random` random and the smallest of `points` (smallest first).

    Source: the sandwich rule, Yu and Huang 2019 (arXiv:1903.05134).

    Example:
        >>> largest_smallest_random(("p10", "p50", "p100"))(torch.Generator())
        ('p100', 'p50', 'p10')
    """
    between = list(points[1:-1])

    def sample(generator: torch.Generator) -> tuple[str, ...]:
        """Return the largest, random ones and the smallest."""
        picks = torch.randperm(len(between), generator=generator)[:num_random].tolist()
        middle = [between[i] for i in sorted(picks, reverse=True)]
        return (points[-1], *middle, points[0]) if len(points) > 1 else (points[-1],)

    return sample
