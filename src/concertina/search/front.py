"""Fronts of two goals, little cost and a high score: who is on it, how much area it covers, what a newcomer adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

NODES = 15
"""Quadrature nodes of an expectation over a normal distribution."""

Floats = NDArray[np.float64]


class Placed(Protocol):
    """Something with a place between two goals."""

    @property
    def cost(self) -> float:
        """What it costs, above 0; less is better."""

    @property
    def score(self) -> float:
        """How good it is; more is better."""


P = TypeVar("P", bound=Placed)


def front(found: Sequence[P]) -> list[P]:
    """Return those that nothing else beats in both goals, cheapest first; of equals the first found.

    Example:
        >>> from types import SimpleNamespace as Place
        >>> [p.cost for p in front([Place(cost=3, score=0.9), Place(cost=1, score=0.5), Place(cost=2, score=0.4)])]
        [1, 3]
    """
    kept: list[P] = []
    for place in sorted(found, key=lambda place: (place.cost, -place.score)):
        if not kept or place.score > kept[-1].score:
            kept.append(place)
    return kept


@dataclass(frozen=True)
class Area:
    """The part of the plane in which a front is judged; costs count by their ratio, as on a log axis."""

    cheapest: float
    """Costs below count as this."""
    most: float
    """Costs above are worth nothing."""
    least: float
    """Scores below are worth nothing."""

    def covered(self, found: Sequence[Placed]) -> float:
        """Return the hypervolume of a front: score above `least` times the logarithm of `most` over cost, summed.

        Example:
            >>> import math
            >>> from types import SimpleNamespace as Place
            >>> Area(1.0, math.e**2, 0.5).covered([Place(cost=1.0, score=0.6), Place(cost=math.e, score=1.0)])
            0.6
        """
        starts, levels = self._stairs(found)
        return float(((levels - self.least) * np.diff(starts)).sum())

    def expected_gains(
        self,
        found: Sequence[Placed],
        costs: Floats,
        means: Floats,
        spreads: Floats,
        to_score: Callable[[Floats], Floats],
    ) -> Floats:
        """Return how much area each candidate is expected to add to a front.

        Args:
            found: Those on the front so far, and others.
            costs: (candidates,) known costs.
            means: (candidates,) predicted means, on the predictor's scale.
            spreads: (candidates,) their standard deviations.
            to_score: From the predictor's scale to scores.

        Source: expected hypervolume improvement, Emmerich et al. 2006 (10.1109/TEVC.2005.859463), by Gauss-Hermite
        quadrature, since only one goal is uncertain.
        """
        starts, levels = self._stairs(found)
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        scores = to_score(means[:, None] + spreads[:, None] * nodes)
        rises = np.maximum(scores[:, :, None] - levels, 0.0)
        rise = np.einsum("cns,n->cs", rises, weights / weights.sum())
        widths = np.clip(starts[1:] - np.maximum(starts[:-1], self._place(costs)[:, None]), 0.0, None)
        return np.asarray((rise * widths).sum(axis=1))

    def _stairs(self, found: Sequence[Placed]) -> tuple[Floats, Floats]:
        """Return where each step begins (one more for the end) and the best score on it."""
        inside = front([place for place in found if place.cost <= self.most and place.score > self.least])
        costs = np.array([self.cheapest, *(place.cost for place in inside), self.most])
        return self._place(costs), np.array([self.least, *(place.score for place in inside)])

    def _place(self, costs: Floats) -> Floats:
        return np.asarray(np.log(np.clip(costs, self.cheapest, self.most)))
