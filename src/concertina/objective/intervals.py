"""Figures of evaluation with their 95% intervals, and ranks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Z95 = 1.959963984540054
"""Two-sided 95% point of the normal distribution."""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.

    Example:
        >>> [round(end, 3) for end in wilson(9, 10)]
        [0.596, 0.982]
    """
    if n == 0:
        return 0.0, 1.0
    share, square = successes / n, Z95**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = Z95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def mean_interval(values: Tensor) -> tuple[float, float]:
    """Return the 95% interval of the mean of `values` (n,), by the normal approximation.

    Where no value is below 0, as with losses, the interval is not either.

    Example:
        >>> mean_interval(torch.tensor([0.0, 0.0, 3.0]))[0]
        0.0
    """
    values = values.double()
    mean = float(values.mean())
    half = Z95 * float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    low = mean - half
    return max(0.0, low) if bool((values >= 0).all()) else low, mean + half


def ratio(totals: Tensor, counts: Tensor) -> tuple[float, float | None, float | None]:
    """Return the sum of `totals` (n,) over that of `counts` (n,), with its 95% interval; none where n is 1.

    For a mean over parts of several parts each, such as tokens of texts: what counts as independent are the n rows.

    Source: Cochran 1977, Sampling Techniques, section 6.4 (the ratio estimate and its variance).

    Example:
        >>> [round(figure, 3) for figure in ratio(torch.tensor([2.0, 4.0, 7.0]), torch.tensor([1, 2, 3]))]
        [2.167, 1.917, 2.416]
    """
    totals, counts = totals.detach().double(), counts.detach().double()
    value, n = float(totals.sum() / counts.sum()), len(totals)
    if n < 2:
        return value, None, None
    spread = float((totals - value * counts).square().sum()) * n / (n - 1)
    half = Z95 * math.sqrt(spread) / float(counts.sum())
    return value, value - half, value + half


def ranks(values: Tensor) -> Tensor:
    """Return the ranks of `values` (n,) from 1 to n as float64; equal values share their mean rank.

    Example:
        >>> ranks(torch.tensor([3.0, 1.0, 3.0])).tolist()
        [2.5, 1.0, 2.5]
    """
    _, group, counts = torch.unique(values, sorted=True, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[group]


def correlation(a: Tensor, b: Tensor) -> float:
    """Return Pearson's correlation of two rows (n,); 0 where one of them is constant."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    scale = float(a.norm() * b.norm())
    return max(-1.0, min(1.0, float(a @ b) / scale)) if scale > 1e-12 else 0.0


def spearman(a: Tensor, b: Tensor) -> tuple[float, float, float]:
    """Return Spearman's rank correlation of two rows (n,) with its 95% interval.

    Where one row is constant the correlation is not defined: 0 with the interval from -1 to 1.

    Source: Spearman 1904; interval by Fisher's z with the variance (1 + r^2 / 2) / (n - 3) of Bonett & Wright 2000.
    """
    value = correlation(ranks(a), ranks(b))
    if len(a) < 5 or len(a.unique()) == 1 or len(b.unique()) == 1:
        return value, -1.0, 1.0
    centre = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, value)))
    half = Z95 * math.sqrt((1 + value**2 / 2) / (len(a) - 3))
    return value, min(value, math.tanh(centre - half)), max(value, math.tanh(centre + half))
