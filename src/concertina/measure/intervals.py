"""Order statistics of measured times, the interval of a paired difference, and exact bounds of a share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from concertina.errors import InputError
from concertina.objective.intervals import Z95


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of `values` lie, interpolated linearly.

    Args:
        values: At least one number, in any order.
        share: 0.5 for the median, 0.95 for the 95th percentile.

    Raises:
        InputError: There is no value, or the share is outside 0 to 1.

    Source: Hyndman & Fan 1996, "Sample quantiles in statistical packages", definition 7.

    Example:
        >>> quantile([3.0, 1.0, 2.0], 0.5), quantile([0.0, 10.0], 0.95)
        (2.0, 9.5)
    """
    if not values or not 0 <= share <= 1:
        raise InputError("quantile", asked=f"{share:g} of {len(values)} values", allowed="0 to 1 of one or more")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95% interval of the median, (low, high), whatever the distribution; None for under 6 values.

    Source: Conover 1999, "Practical nonparametric statistics", section 3.2: the median lies between two order
    statistics whose ranks are quantiles of a binomial distribution with probability one half.

    Example:
        >>> median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        (1.0, 6.0)
    """
    n = len(values)
    tail, rank = 0.0, -1
    while rank + 1 < n / 2 and tail + _half_binomial(n, rank + 1) <= 0.025:
        rank += 1
        tail += _half_binomial(n, rank)
    if rank < 0:
        return None
    ordered = sorted(values)
    return ordered[rank], ordered[n - 1 - rank]


def _half_binomial(n: int, k: int) -> float:
    """Return the chance of `k` heads in `n` throws of a fair coin."""
    return math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))


def paired_interval(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a difference of two shares measured on the same units, (low, high).

    Args:
        only_first: Units that only the first got right.
        only_second: Units that only the second got right.
        n: Units both were asked, 1 or more.

    Raises:
        InputError: The counts do not fit `n`.

    Source: Bonett & Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data".

    Example:
        >>> low, high = paired_interval(8, 2, 100)
        >>> round(low, 3), round(high, 3)
        (-0.007, 0.124)
    """
    if n < 1 or min(only_first, only_second) < 0 or only_first + only_second > n:
        raise InputError(
            "paired difference", asked=f"{only_first} and {only_second} of {n}", allowed="counts of n >= 1"
        )
    first, second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    centre, measured = first - second, (only_first - only_second) / n
    half = Z95 * math.sqrt((first + second - centre * centre) / (n + 2))
    return max(-1.0, min(measured, centre - half)), min(1.0, max(measured, centre + half))


def binomial_cdf(n: int, share: float, upto: int) -> Tensor:
    """Return the chances of at most 0, 1, ... `upto` successes in `n` independent tries, (upto + 1,) float64.

    Args:
        n: Tries.
        share: Chance of success in one, above 0 and below 1.
        upto: The last count, 0 to n.

    Example:
        >>> [round(chance, 6) for chance in binomial_cdf(2, 0.5, 2).tolist()]
        [0.25, 0.75, 1.0]
    """
    counts = torch.arange(upto + 1, dtype=torch.float64)
    ways = math.lgamma(n + 1) - torch.lgamma(counts + 1) - torch.lgamma(n - counts + 1)
    terms = (ways + counts * math.log(share) + (n - counts) * math.log1p(-share)).exp()
    return terms.cumsum(0).clamp(max=1.0)


@lru_cache(maxsize=4096)
def share_at_most(successes: int, n: int, risk: float) -> float:
    """Return the exact one-sided upper bound of a share: it lies above the true share but for a chance of `risk`.

    Args:
        successes: How many of `n`.
        n: Independent tries, 1 or more.
        risk: Chance that the bound does not hold, above 0 and below 1.

    Raises:
        InputError: The counts or the risk are out of range.

    Source: Clopper & Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial".

    Example:
        >>> round(share_at_most(0, 59, 0.05), 4)
        0.0495
    """
    if not 0 <= successes <= n or n < 1 or not 0 < risk < 1:
        raise InputError("bound of a share", asked=f"{successes} of {n}, risk {risk:g}", allowed="counts, risk in 0-1")
    if successes == n:
        return 1.0
    low, high = successes / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        above = float(binomial_cdf(n, middle, successes)[-1]) > risk if 0 < middle < 1 else middle <= 0
        low, high = (middle, high) if above else (low, middle)
    return high
