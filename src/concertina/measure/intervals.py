"""Order statistics of measured times, and the interval of a paired difference."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
