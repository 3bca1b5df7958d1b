"""Bounds on false negatives that hold on average."""

from __future__ import annotations

import math

from concertina.audits.base import GUARANTEES, Guarantee


@GUARANTEES.register("conformal", source="Conformal risk control (arXiv:2208.02814)", year=2022)
class Conformal(Guarantee):
    """On average over calibration data and new data each false-negative rate stays within its bound.

    This is no statement with 95% confidence: the rate of the one threshold at hand may well lie above the bound, about
    as often as not. It holds for each class and point by itself, so how many were asked for makes no difference; in
    return it needs fewer samples and finds more.

    The threshold is the largest with (misses + 1) / (n + 1) within the bound: a miss costs 1, and the new sample counts
    as missed.

    Example:
        >>> Conformal().samples(0.05, statements=1), Conformal().misses(250, 0.05, statements=1)
        (19, 11)
    """

    confidence = 0.0

    def misses(self, n: int, bound: float, statements: int) -> int:  # noqa: ARG002 - one signature for all
        """Return the most misses of `n` of which, with one more, the share is within the bound."""
        return math.floor(bound * (n + 1) * (1 + 1e-12)) - 1

    def samples(self, bound: float, statements: int) -> int:  # noqa: ARG002 - one signature for all
        """Return the fewest samples of which one more, missed, is within the bound."""
        return math.ceil((1 - 1e-12) / bound) - 1

    def at_most(self, misses: int, n: int, statements: int) -> float:  # noqa: ARG002 - one signature for all
        """Return the bound on the expected rate."""
        return (misses + 1) / (n + 1)
