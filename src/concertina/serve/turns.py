"""Which subnet answers the request whose turn has come: the largest that leaves time for all behind it. Pure.

Were everyone behind it, and those who can be expected, answered by the same point, nobody would be late. So sizes fall
evenly as the queue grows: ten requests by a point of middle size give more right answers than five by the full one and
five by the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from concertina.serve.policy import Offer, Policy, Wish


@dataclass(frozen=True)
class Turn:
    """A request in the queue, as the choice for the one at its head sees it."""

    wish: Wish
    left_ms: float
    """Time until its answer is due; below 0 when that is over, inf where it never is."""


@dataclass(frozen=True)
class Pace:
    """How things go of late."""

    slowdown: float = 1.0
    """How much longer calls take than when they were measured."""
    gap_ms: float = math.inf
    """Mean time from one request to the next."""


USUAL = Pace()


def in_turn(policy: Policy, head: Turn, behind: Sequence[Turn], pace: Pace = USUAL) -> str:
    """Return the point for the request whose turn has come; the fastest where even that is late.

    Args:
        policy: The points and rules.
        head: The request; a point may answer it.
        behind: Those that wait, in their order.
        pace: How things go of late.

    Example:
        >>> policy = Policy([Offer("p25", 10, {1: 2.0}), Offer("p100", 40, {1: 10.0})])
        >>> turn = Turn(Wish(budget_ms=50.0), left_ms=45.0)
        >>> in_turn(policy, turn, []), in_turn(policy, turn, [turn] * 5)
        ('p100', 'p25')
    """
    plan = _Plan(policy, pace)
    ladder = plan.ladder(head.wish)
    larger = (offer for offer in ladder[:0:-1] if plan.leaves_time(offer, head, behind))
    return next(larger, ladder[0]).name


class _Plan:
    """Everyone answered by one point, or the nearest that may; what is alike is computed once."""

    def __init__(self, policy: Policy, pace: Pace) -> None:
        self._policy, self._rules, self._pace = policy, policy.rules, pace
        self._ladders: dict[tuple[int, float | None, str], list[Offer]] = {}
        self._shares: dict[tuple[int, float | None, str, int], float] = {}

    def ladder(self, wish: Wish) -> list[Offer]:
        """Return the points that may answer, by rising size."""
        kind = _kind(wish)
        if kind not in self._ladders:
            self._ladders[kind] = self._policy.ladder(wish)
        return self._ladders[kind]

    def leaves_time(self, offer: Offer, head: Turn, behind: Sequence[Turn]) -> bool:
        """Return whether nobody would be late; what is kept back of the head's own budget grows as it waits."""
        budget, kept = head.wish.budget_ms or 0.0, self._rules.reserve + self._rules.calm
        taken = offer.time_ms(head.wish.samples) * self._pace.slowdown
        if taken > head.left_ms - self._rules.reserve * max(0.0, budget - head.left_ms):
            return False
        for turn in behind:
            taken += self._share_ms(turn.wish, offer.macs)
            if taken > turn.left_ms - kept * (turn.wish.budget_ms or 0.0):
                return False
        ahead_ms = self._rules.foresight * budget
        to_come = ahead_ms / self._pace.gap_ms
        taken += to_come * self._share_ms(head.wish, offer.macs)
        return to_come < 1 or taken <= ahead_ms + (1 - kept) * budget

    def _share_ms(self, wish: Wish, macs: int) -> float:
        """Return the time a request takes with a point of so many MACs at most, in company where that is quicker."""
        kind = (*_kind(wish), macs)
        if kind not in self._shares:
            ladder = self.ladder(wish)
            offer = next((offer for offer in reversed(ladder) if offer.macs <= macs), ladder[0])
            self._shares[kind] = offer.share_ms(wish.samples) * self._pace.slowdown
        return self._shares[kind]


def _kind(wish: Wish) -> tuple[int, float | None, str]:
    """Return what the points that may answer depend on."""
    return wish.samples, wish.min_accuracy, wish.point
