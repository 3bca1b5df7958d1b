"""Sandwich: every step trains the largest, the smallest and some points between."""

from __future__ import annotations

from collections.abc import Sequence

from concertina.train.recipes import RECIPES, Phase, Recipe, largest_smallest_random


@RECIPES.register("sandwich", source="Yu and Huang, Universally slimmable networks (arXiv:1903.05134)", year=2019)
class Sandwich(Recipe):
    """Largest, smallest and up to two random points each step, with in-place distillation.

    Use it unless something speaks for another: it needs labels, and its cost does not grow with the number of points.
    """

    name = "sandwich"

    def phases(self, points: Sequence[str], epochs: float) -> list[Phase]:
        """Return one phase; with four points or fewer each step trains them all."""
        return [Phase("sandwich", epochs, largest_smallest_random(points), whole_space=True)]
