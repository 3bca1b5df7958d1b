"""Sparse first: make what will be cut superfluous before anything is cut."""

from __future__ import annotations

from collections.abc import Sequence

from concertina.train.recipes import RECIPES, Lesson, Phase, Recipe, largest_smallest_random, only


@RECIPES.register(
    "sparse-first", source="Wang et al., Neural pruning via growing regularization (arXiv:2012.09243)", year=2021
)
class SparseFirst(Recipe):
    """First the full point alone, under a growing decay of the channels that smaller points leave out; then sandwich.

    What the most points leave out is pressed hardest, so the function moves into the channels that stay longest. Use
    it when small points matter more than the full one and there are epochs to spend.
    """

    name = "sparse-first"
    share = 0.25
    """Share of the epochs that the first phase takes."""
    press = 3.0

    def phases(self, points: Sequence[str], epochs: float) -> list[Phase]:
        """Return two phases."""
        taught = Lesson(labels=1.0, core=1.0)
        first = Phase("sparse learning", self.share * epochs, only(points[-1]), taught, press=self.press)
        then = Phase("sandwich", (1 - self.share) * epochs, largest_smallest_random(points), whole_space=True)
        return [first, then]
