"""What the last two minutes were like: answers, their times, and refusals, in slots of two seconds.

To count an answer costs a few microseconds, however many there are; to read costs the same whatever the traffic is.
"""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVERY_S = 2.0
"""Seconds of a slot."""
SLOTS = 60
"""Slots that are told."""
LEAST_MS, RATIO, BINS = 0.01, 1.02, 840
"""End of the first bin of times, from each bin's end to the next one's, and how many there are: up to 2 minutes.

So a time is told within 1%.
"""
_PER_BIN = 1 / math.log(RATIO)
_NONE = bytes(4 * BINS)
_ENDS = LEAST_MS * RATIO ** (np.arange(BINS) - 0.5)


class Tally:
    """Answers of one subnet in one slot."""

    def __init__(self) -> None:
        self.bins = array("I", _NONE)
        """Answers by how long they took."""
        self.with_budget = 0
        self.in_time = 0
        """Of those with a budget."""

    def add(self, total_ms: float, in_time: bool | None) -> None:
        """Count an answer; `in_time` is None where it had no budget."""
        place = math.ceil(math.log(total_ms / LEAST_MS) * _PER_BIN) if total_ms > LEAST_MS else 0
        self.bins[place if place < BINS else BINS - 1] += 1
        if in_time is not None:
            self.with_budget += 1
            self.in_time += in_time


class Recent:
    """Counts what has just been; safe from many threads.

    Args:
        clock: Seconds, from any start; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots: dict[int, dict[str, Tally]] = {}
        self._refused: dict[int, Counter[int]] = {}
        self._since_start: dict[str, int] = {}
        self._lock = threading.Lock()
        self._told: tuple[int, dict[str, Any]] = (-1, {})

    def answer(self, point: str, total_ms: float, *, in_time: bool | None) -> None:
        """Count an answer.

        Args:
            point: Which subnet gave it.
            total_ms: From the request to the answer.
            in_time: Whether it came within its budget; None where it had none.
        """
        with self._lock:
            slot = self._slots.get(int(self._clock() / EVERY_S)) or self._new_slot()
            tally = slot.get(point)
            if tally is None:
                tally = slot[point] = Tally()
            tally.add(total_ms, in_time)
            self._since_start[point] = self._since_start.get(point, 0) + 1

    @property
    def since_start(self) -> dict[str, int]:
        """Subnet -> all that it has answered."""
        with self._lock:
            return dict(self._since_start)

    def refusal(self, status: int) -> None:
        """Count a request without an answer by its HTTP status."""
        with self._lock:
            self._new_slot()
            self._refused[self._number()][status] += 1

    def told(self) -> dict[str, Any]:
        """Return the figures of all whole slots as JSON values, in sum and as a series, the oldest slot first."""
        with self._lock:
            now, told = self._number(), self._told
            if told[0] == now:
                return told[1]
            slots = [self._slots.get(number) or {} for number in range(now - SLOTS, now)]
            refused = [self._refused.get(number) or Counter[int]() for number in range(now - SLOTS, now)]
        self._told = now, _told(slots, refused)  # whole slots change no more: nobody who counts needs to wait
        return self._told[1]

    def _number(self) -> int:
        return int(self._clock() / EVERY_S)

    def _new_slot(self) -> dict[str, Tally]:
        """Return the slot of now; where it is new, what is too old to be told is dropped."""
        number = self._number()
        if number not in self._slots:
            self._slots[number], self._refused[number] = {}, Counter()
            for old in [known for known in self._slots if known < number - SLOTS]:
                del self._slots[old], self._refused[old]
        return self._slots[number]


def _told(slots: Sequence[dict[str, Tally]], refused: Sequence[Counter[int]]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for slot in slots for name in slot))
    tallies = [[slot.get(name) for slot in slots] for name in names]
    parts = [_NONE if tally is None else tally.bins for row in tallies for tally in row]
    bins = np.frombuffer(b"".join(parts), np.uint32).reshape(len(names), len(slots), BINS)
    whole = bins.sum(0, dtype=np.int64)
    series = bins.sum(2, dtype=np.int64).tolist()
    sums = bins.sum(1, dtype=np.int64)
    statuses = sum(refused, Counter[int]())
    return {
        "every_s": EVERY_S,
        "points": [
            {"name": name, **_figures(sums[place], tallies[place]), "series": series[place]}
            for place, name in enumerate(names)
        ],
        "all": _figures(whole.sum(0), [tally for row in tallies for tally in row]),
        "p50_ms": quantiles_ms(whole, 0.5),
        "p99_ms": quantiles_ms(whole, 0.99),
        "refused": [slot.total() for slot in refused],
        "refusals": [{"status": status, "count": count} for status, count in sorted(statuses.items())],
    }


def _figures(bins: NDArray[np.int64], tallies: Sequence[Tally | None]) -> dict[str, Any]:
    """Return the figures of all answers (bins,) together, and of what was within a budget."""
    there = [tally for tally in tallies if tally is not None]
    return {
        "answers": int(bins.sum()),
        "p50_ms": quantiles_ms(bins[None], 0.5)[0],
        "p99_ms": quantiles_ms(bins[None], 0.99)[0],
        "with_budget": sum(tally.with_budget for tally in there),
        "in_time": sum(tally.in_time for tally in there),
    }


def quantiles_ms(bins: NDArray[np.int64], share: float) -> list[float | None]:
    """Return for each row the time within which this share of its answers came, three digits of it; None for no answer.

    Args:
        bins: Answers by how long they took, (rows, bins).
        share: Between 0 and 1.

    Example:
        >>> tally = Tally()
        >>> for ms in (1.0, 2.0, 3.0, 400.0):
        ...     tally.add(ms, None)
        >>> bins = np.array([tally.bins], np.int64)
        >>> [round(quantiles_ms(bins, share)[0] / ms, 1) for share, ms in ((0.5, 2.0), (0.99, 400.0))]
        [1.0, 1.0]
    """
    below = bins.cumsum(1)
    totals = below[:, -1]
    places = (below >= np.ceil(share * totals[:, None] - 1e-9)).argmax(1)
    return [
        float(f"{end:.3g}") if total else None
        for end, total in zip(_ENDS[places].tolist(), totals.tolist(), strict=True)
    ]
