"""Scores on the scale of their errors: from 98 to 99% is as far as from 60 to 80%."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLUNT = 0.002
"""Errors are not told apart below this share of the largest error."""


@dataclass(frozen=True)
class Stretch:
    """A logarithmic scale of the distance from the ideal score."""

    ideal: float
    """The score that nothing can beat."""
    blunt: float
    """What is added to errors, so that none is 0."""

    @staticmethod
    def over(scores: Floats) -> Stretch:
        """Return the scale for metrics such as the scores given: shares up to 1, losses (negated) up to 0, or others.

        Example:
            >>> Stretch.over(np.array([0.2, 0.9])).ideal, Stretch.over(np.array([-20.0, -12.0])).ideal
            (1.0, 0.0)
        """
        best, worst = float(scores.max()), float(scores.min())
        ideal = next((bound for bound in (0.0, 1.0) if best <= bound), best + 0.1 * (best - worst) + 1e-9)
        return Stretch(ideal, BLUNT * max(ideal - worst, 1e-9))

    def to_target(self, scores: Floats) -> Floats:
        """Return scores on this scale; higher stays better.

        Example:
            >>> stretch = Stretch(1.0, 0.001)
            >>> round(float(stretch.to_score(stretch.to_target(np.array([0.75])))[0]), 9)
            0.75
        """
        return np.asarray(-np.log(np.maximum(self.ideal - scores, 0.0) + self.blunt))

    def to_score(self, targets: Floats) -> Floats:
        """Return the scores of values on this scale."""
        return np.asarray(np.minimum(self.ideal + self.blunt - np.exp(-np.clip(targets, -50, 50)), self.ideal))
