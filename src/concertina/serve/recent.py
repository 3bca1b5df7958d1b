"""What the last two minutes were like: answers, their times, and refusals, in slots of two seconds.

An answer costs the time of a few additions, however many there are; reading costs the same whatever the traffic is.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

EVERY_S = 2.0
"""Seconds of a slot."""
SLOTS = 60
"""Slots that are told."""
LEAST_MS, RATIO = 0.01, 1.02
"""End of the first bin of times, and from each bin's end to the next one's: a time is told within 1%."""
_PER_BIN = 1 / math.log(RATIO)


class Tally:
    """Answers of one subnet, by how long they took."""

    def __init__(self) -> None:
        self.answers = 0
        self.with_budget = 0
        self.in_time = 0
        """Of those with a budget."""
        self.bins: Counter[int] = Counter()
        """Place of a bin of times -> answers in it."""

    def add(self, total_ms: float, in_time: bool | None) -> None:
        """Count an answer; `in_time` is None where it had no budget."""
        self.answers += 1
        self.bins[max(0, math.ceil(math.log(max(total_ms, LEAST_MS) / LEAST_MS) * _PER_BIN))] += 1
        if in_time is not None:
            self.with_budget += 1
            self.in_time += in_time

    def quantile_ms(self, share: float) -> float | None:
        """Return the time within which this share of the answers came; None where there are none.

        Example:
            >>> tally = Tally()
            >>> for ms in (1.0, 2.0, 3.0, 400.0):
            ...     tally.add(ms, None)
            >>> [round(tally.quantile_ms(share) / ms, 1) for share, ms in ((0.5, 2.0), (0.99, 400.0))]
            [1.0, 1.0]
        """
        wanted = share * self.answers
        for place in sorted(self.bins):
            wanted -= self.bins[place]
            if wanted <= 1e-9:
                return float(LEAST_MS * RATIO ** (place - 0.5))
        return None

    def told(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        times = {f"p{round(100 * share)}_ms": _rounded(self.quantile_ms(share)) for share in (0.5, 0.99)}
        return {"answers": self.answers, **times, "with_budget": self.with_budget, "in_time": self.in_time}

    @classmethod
    def together(cls, tallies: Iterable[Tally]) -> Tally:
        """Return the sum of several."""
        found = cls()
        for tally in tallies:
            found.answers += tally.answers
            found.with_budget += tally.with_budget
            found.in_time += tally.in_time
            found.bins.update(tally.bins)
        return found


class _Slot:
    def __init__(self) -> None:
        self.points: defaultdict[str, Tally] = defaultdict(Tally)
        self.refused: Counter[int] = Counter()


class Recent:
    """Counts what has just been; safe from many threads.

    Args:
        clock: Seconds, from any start; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots: dict[int, _Slot] = {}
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
            self._slot().points[point].add(total_ms, in_time)

    def refusal(self, status: int) -> None:
        """Count a request without an answer by its HTTP status."""
        with self._lock:
            self._slot().refused[status] += 1

    def told(self) -> dict[str, Any]:
        """Return the figures of all whole slots as JSON values, in sum and as a series, the oldest slot first."""
        with self._lock:
            now = self._number()
            if self._told[0] != now:
                self._told = now, _told([self._slots.get(number) or _Slot() for number in range(now - SLOTS, now)])
            return self._told[1]

    def _number(self) -> int:
        return int(self._clock() // EVERY_S)

    def _slot(self) -> _Slot:
        number = self._number()
        if number not in self._slots:
            self._slots[number] = _Slot()
            for old in [known for known in self._slots if known < number - SLOTS]:
                del self._slots[old]
        return self._slots[number]


def _told(slots: Sequence[_Slot]) -> dict[str, Any]:
    names = dict.fromkeys(name for slot in slots for name in slot.points)
    whole = [Tally.together(slot.points.values()) for slot in slots]
    refused: Counter[int] = Counter()
    for slot in slots:
        refused.update(slot.refused)
    return {
        "every_s": EVERY_S,
        "points": [_told_point(name, slots) for name in names],
        "all": Tally.together(whole).told(),
        "p50_ms": [_rounded(tally.quantile_ms(0.5)) for tally in whole],
        "p99_ms": [_rounded(tally.quantile_ms(0.99)) for tally in whole],
        "refused": [slot.refused.total() for slot in slots],
        "refusals": [{"status": status, "count": count} for status, count in sorted(refused.items())],
    }


def _told_point(name: str, slots: Sequence[_Slot]) -> dict[str, Any]:
    tallies = [slot.points.get(name) for slot in slots]
    series = [0 if tally is None else tally.answers for tally in tallies]
    return {"name": name, **Tally.together(tally for tally in tallies if tally is not None).told(), "series": series}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")
