"""Prune and grow: shrink point by point to the smallest, then grow back and train only what is new."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from concertina.train.recipes import RECIPES, Lesson, Phase, Recipe, only

BOTH = Lesson(labels=1.0, core=1.0)


@RECIPES.register("prune-and-grow", source="Prune-and-Grow CNN architectures (METHODS 000-01)", methods=("000-01",))
class PruneAndGrow(Recipe):
    """After growing, every smaller point gives bit for bit the outputs it gave before.

    Half of the epochs go into shrinking and half into growing. While a point grows, the weights of the next smaller
    one are frozen, so the smaller ones never change again. Use it when smaller points are in service already and must
    not move.
    """

    name = "prune-and-grow"

    def phases(self, points: Sequence[str], epochs: float) -> list[Phase]:
        """Return one phase a point on the way down and one a point on the way up."""
        down, up = list(reversed(points)), list(points)
        share = epochs / max(1, len(down) + len(up) - 1)
        shrink = [Phase(f"shrink to {name}", share, only(name), BOTH) for name in down]
        grow = [
            Phase(f"grow to {larger}", share, only(larger), BOTH, frozen=smaller)
            for smaller, larger in itertools.pairwise(up)
        ]
        return shrink + grow
