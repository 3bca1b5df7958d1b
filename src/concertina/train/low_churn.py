"""Low churn: points that answer as the core does, also where both are wrong."""

from __future__ import annotations

from collections.abc import Sequence

from concertina.train.recipes import RECIPES, Lesson, Phase, Recipe, largest_smallest_random

LIKE_CORE = Lesson(labels=0.25, core=0.75)


@RECIPES.register(
    "low-churn",
    source="Jiang et al., Churn reduction via distillation (arXiv:2106.02654)",
    methods=("004-177",),
    year=2021,
)
class LowChurn(Recipe):
    """Every point learns from the core's outputs for three quarters and from the labels for one.

    The mixture bounds the share of samples on which a point's prediction differs from the core's (its churn). Use it
    when a point takes the place of the core in service, and changed answers cost more than a little accuracy.
    """

    name = "low-churn"

    def phases(self, points: Sequence[str], epochs: float) -> list[Phase]:
        """Return one phase, with points chosen as in the sandwich."""
        sample = largest_smallest_random(points)
        return [Phase("low-churn", epochs, sample, LIKE_CORE, LIKE_CORE, whole_space=True)]
