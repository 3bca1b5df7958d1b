"""Label-free: every point learns from the core's outputs alone."""

from __future__ import annotations

from collections.abc import Sequence

from concertina.train.recipes import RECIPES, Lesson, Phase, Recipe, largest_smallest_random

FROM_CORE = Lesson(core=1.0)


@RECIPES.register(
    "label-free",
    source="Cui et al., Beyond self-supervision: a simple yet effective network distillation (arXiv:2103.05959)",
    methods=("001-37",),
    year=2021,
)
class LabelFree(Recipe):
    """Points are chosen as in the sandwich, and taught by the frozen core, never by labels.

    Use it with inputs that have no labels, or labels that are worse than the core.
    """

    name = "label-free"

    def phases(self, points: Sequence[str], epochs: float) -> list[Phase]:
        """Return one phase."""
        sample = largest_smallest_random(points)
        return [Phase("label-free", epochs, sample, FROM_CORE, FROM_CORE, whole_space=True)]
