"""Fixed list: every step trains every point."""

from __future__ import annotations

from collections.abc import Sequence

from concertina.train.recipes import RECIPES, Lesson, Phase, Recipe, every


@RECIPES.register(
    "fixed-list",
    source="Zhuang et al., Starbucks: improved training for 2D Matryoshka embeddings (arXiv:2410.13230)",
    methods=("001-40",),
    year=2024,
)
class FixedList(Recipe):
    """The labels' loss on every point each step, and each smaller point taught by the full one.

    Use it for a handful of points that all matter equally: no point waits for its turn, and a step costs as much as
    all points together.
    """

    name = "fixed-list"

    def phases(self, points: Sequence[str], epochs: float) -> list[Phase]:
        """Return one phase."""
        rest = Lesson(labels=1.0, full=1.0)
        return [Phase("fixed list", epochs, every(points), rest=rest, whole_space=True)]
