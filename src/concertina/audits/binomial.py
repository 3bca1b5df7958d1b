"""Bounds on false negatives that hold with 95% confidence, all of them together."""

from __future__ import annotations

import math

from concertina.audits.base import CONFIDENCE, GUARANTEES, Guarantee
from concertina.measure.intervals import binomial_cdf, share_at_most


@GUARANTEES.register("binomial", source="Learn then Test (arXiv:2110.01052) with Clopper-Pearson 1934", year=2021)
class Binomial(Guarantee):
    """With 95% confidence no false-negative rate of all that were asked for together exceeds its bound. The default.

    For one point and one class each threshold from 0 upwards is a candidate, and each stands for the hypothesis that
    its false-negative rate exceeds the bound. The rate can only rise with the threshold, and so can the misses counted.
    So candidates are tested one after the other, from 0 upwards, each by the exact binomial test (one-sided
    Clopper-Pearson) at the full risk, until the first that is not rejected: fixed-sequence testing, which needs no
    correction however many candidates there are. This stays exact where the thresholds are the scores of the same data:
    with the smallest threshold whose true rate exceeds the bound fixed beforehand, a wrong choice needs that one to
    have too few misses, a single event. (The threshold is the lower tolerance limit of Wilks 1941.)

    Points and classes have no such order: their risks are added up (Bonferroni), each gets 5% divided by their number.
    Asking again on the same data, with other bounds or floors, is a new statement with a risk of its own.

    Example:
        >>> Binomial().samples(0.05, statements=1), Binomial().misses(250, 0.05, statements=1)
        (59, 6)
    """

    confidence = CONFIDENCE

    def misses(self, n: int, bound: float, statements: int) -> int:
        """Return the most misses of `n` at which the exact test rejects a rate above the bound."""
        upto = math.floor(n * bound)
        return int((binomial_cdf(n, bound, upto) <= _risk(statements)).sum()) - 1

    def samples(self, bound: float, statements: int) -> int:
        """Return the fewest samples of which none missed is proof enough."""
        return math.ceil(math.log(_risk(statements)) / math.log1p(-bound))

    def at_most(self, misses: int, n: int, statements: int) -> float:
        """Return the one-sided upper bound of the rate."""
        return share_at_most(misses, n, _risk(statements))


def _risk(statements: int) -> float:
    return (1 - CONFIDENCE) / statements
