"""Axes of a plot: from values to pixels, and where the ticks stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map from values to pixels."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float
    """Pixel of `high`."""
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of `value`."""
        low, high, at = (
            (math.log10(v) for v in (self.low, self.high, value)) if self.is_log else (self.low, self.high, value)
        )
        return self.start + (self.end - self.start) * (at - low) / (high - low)


def log_range(values: Sequence[float]) -> tuple[float, float]:
    """Return a range around positive `values` with a margin of a twentieth of a decade or more."""
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = max(0.05, 0.05 * (high - low))
    return 10 ** (low - margin), 10 ** (high + margin)


def linear_range(values: Sequence[float]) -> tuple[float, float]:
    """Return a range around `values` with a margin of a twentieth of their spread."""
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def log_ticks(low: float, high: float, limit: int) -> list[float]:
    """Return at most `limit` ticks (1, 2 and 5 of each decade, fewer where they are many) within a range.

    Example:
        >>> log_ticks(0.015, 1.1, 9)
        [0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= limit:
            break
    return ticks[:: math.ceil(len(ticks) / limit)] if ticks else [math.sqrt(low * high)]


def linear_ticks(low: float, high: float, limit: int) -> list[float]:
    """Return at most `limit` round ticks within a range.

    Example:
        >>> linear_ticks(0.08, 1.04, 6)
        [0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / limit
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (unit * factor) < limit)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]
