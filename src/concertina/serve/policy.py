"""Which subnet answers a request: the largest whose predicted time fits. Pure: no clock, no queue, no network.

The predicted time of a point is the measured time of a call of so many samples plus the work ahead in the queue. At
idle a request without a budget, or with one that fits, gets the full point. As the queue grows, smaller points answer
first; only then are requests refused.

A choice is made twice: here, when a request comes, whether it can be answered and by what as things stand; and when its
turn comes (turns.py), by what in fact, with an eye on all that wait behind it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

LADDERS_KEPT = 256
"""Of how many kinds of requests it is kept which points may answer; clients can make up any number of them."""


@dataclass(frozen=True)
class Offer:
    """An operating point as the policy sees it."""

    name: str
    macs: int
    """Multiply-accumulates for one input; the larger of two points is the one with more."""
    times_ms: Mapping[int, float]
    """Samples in one call -> measured milliseconds; one entry at least."""
    accuracy: float | None = None
    """Its measured figure, where larger is better; None where it was not measured."""
    barred: str = ""
    """The stated bound that it does not meet, such as "recall[cat]>=0.8"; empty when it may always be chosen."""

    def time_ms(self, samples: int) -> float:
        """Return the time of a call of so many samples, between and beyond what was measured.

        Example:
            >>> offer = Offer("p50", 10, {1: 2.0, 9: 10.0})
            >>> offer.time_ms(1), offer.time_ms(5), offer.time_ms(18)
            (2.0, 6.0, 20.0)
        """
        if samples in self.times_ms:
            return self.times_ms[samples]
        known = sorted(self.times_ms)
        if samples <= known[0]:
            return self.times_ms[known[0]]
        if samples >= known[-1]:
            return self.times_ms[known[-1]] * samples / known[-1]
        above = next(count for count in known if count >= samples)
        below = max(count for count in known if count < above)
        share = (samples - below) / (above - below)
        return self.times_ms[below] + share * (self.times_ms[above] - self.times_ms[below])

    def share_ms(self, samples: int) -> float:
        """Return the time that so many samples add to a call in good company.

        Example:
            >>> Offer("p50", 10, {1: 2.0, 8: 8.0}).share_ms(2)
            2.0
        """
        least = min(time / count for count, time in self.times_ms.items())
        return min(self.time_ms(samples), samples * least)


@dataclass(frozen=True)
class Wish:
    """What a request asks for."""

    samples: int = 1
    """How many inputs it brings."""
    budget_ms: float | None = None
    """Time from its arrival to its answer; None for no hurry."""
    min_accuracy: float | None = None
    """The least measured accuracy of a point that may answer."""
    point: str = ""
    """The one point that may answer; empty to leave the choice to the policy."""


@dataclass(frozen=True)
class Load:
    """What stands before a request."""

    ahead_ms: float = 0.0
    """Predicted time of all work that comes before it, the rest of the running call included."""
    waiting: int = 0
    """Requests in the queue."""
    slowdown: float = 1.0
    """How much longer calls take now than when they were measured."""
    least_ms: float = math.inf
    """What `ahead_ms` would be if the fastest points that may answer did that work."""


@dataclass(frozen=True)
class Rules:
    """How the policy weighs."""

    limit: int = 256
    """Most requests that may wait; more are refused."""
    margin: float = 0.15
    """Share of the budget that must be left before a larger point than the last one answers again."""
    patience: float = 8.0
    """Without a budget a request waits for a point up to this many times as long as the full point takes."""
    reserve: float = 0.1
    """Share of the budget that no plan uses: for the way to the client, and for calls that take longer than most."""
    calm: float = 0.35
    """Share of the budget that a request's turn leaves to those behind it beyond that, for who comes in between."""
    foresight: float = 2.0
    """For so many budgets to come, requests are expected to arrive as they did of late."""


@dataclass(frozen=True)
class Decision:
    """Which point answers, when that is predicted, and why; or why none does."""

    point: str
    """Name of the point; empty where the request is refused."""
    predicted_ms: float
    """Predicted time to the answer; of a refused request, the least there is."""
    why: str
    refusal: Literal["", "busy", "impossible"] = ""
    """Whether to come back later ("busy"), or whether no wait would help ("impossible")."""
    retry_after_s: float = 0.0
    """When a busy server is worth asking again."""


NOTHING_AHEAD = Load()
USUAL = Rules()


@dataclass(frozen=True)
class Policy:
    """The points and rules of one server."""

    offers: Sequence[Offer]
    """The points, in any order; one at least."""
    rules: Rules = field(default_factory=Rules)
    _ladders: dict[tuple[int, float | None, str], list[Offer]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def decide(self, wish: Wish, load: Load = NOTHING_AHEAD, previous: str = "") -> Decision:
        """Return which point answers a request.

        Args:
            wish: What it asks for; a point it names is there.
            load: What stands before it.
            previous: The point that the last request of the same kind got; a larger one needs room to spare, so that
                answers do not flap between two sizes. Empty for none.
        """
        ladder = self.ladder(wish)
        if not ladder:
            return Decision("", 0.0, _why_none(self.offers, wish), "impossible")
        least = ladder[0].time_ms(wish.samples)
        if wish.budget_ms is not None and least > wish.budget_ms:
            why = f"{ladder[0].name} is the fastest and takes {least:.3g} ms; the budget is {wish.budget_ms:g} ms"
            return Decision("", least, why, "impossible")
        if load.waiting >= self.rules.limit:
            why = f"{load.waiting} requests are waiting, the most there may be"
            return _busy(least, load, why, max(least, load.ahead_ms / 2))
        if wish.budget_ms is None:
            return self._unhurried(ladder, wish, load, previous)
        return _within(ladder, wish, load, previous, self.rules)

    def _unhurried(self, ladder: Sequence[Offer], wish: Wish, load: Load, previous: str) -> Decision:
        """Return the decision without a budget: the largest point that patience allows, else the smallest."""
        largest = ladder[-1]
        alone = largest.time_ms(wish.samples) * load.slowdown
        if wish.point or load.ahead_ms <= 0:
            predicted = alone + load.ahead_ms
            return Decision(largest.name, predicted, _reason(wish, "the largest point: nothing is ahead"))
        patience = within_budget(wish, self.rules.patience * largest.time_ms(wish.samples))
        found = _within(ladder, patience, load, previous, self.rules)
        if found.point == largest.name:
            return Decision(found.point, found.predicted_ms, "the largest point: little is ahead")
        point = found.point or ladder[0].name
        predicted = next(o for o in ladder if o.name == point).time_ms(wish.samples) * load.slowdown + load.ahead_ms
        return Decision(point, predicted, f"a smaller point: {load.ahead_ms:.3g} ms of work are ahead")

    def ladder(self, wish: Wish) -> list[Offer]:
        """Return the points that may answer, by rising size and time; those as slow as a larger one are left out."""
        kind = (wish.samples, wish.min_accuracy, wish.point)
        found = self._ladders.get(kind)
        if found is None:
            found = _worth_having([offer for offer in self.offers if _may_answer(offer, wish)], wish.samples)
            if len(self._ladders) >= LADDERS_KEPT:
                self._ladders.clear()
            self._ladders[kind] = found
        return found

    def may_answer(self, wish: Wish, point: str) -> bool:
        """Return whether a point may answer a request at all."""
        return any(offer.name == point and _may_answer(offer, wish) for offer in self.offers)


def within_budget(wish: Wish, budget_ms: float) -> Wish:
    """Return the wish with another budget.

    Example:
        >>> within_budget(Wish(samples=2), 5.0)
        Wish(samples=2, budget_ms=5.0, min_accuracy=None, point='')
    """
    return Wish(wish.samples, budget_ms, wish.min_accuracy, wish.point)


def _may_answer(offer: Offer, wish: Wish) -> bool:
    if wish.point and offer.name != wish.point:
        return False
    if wish.min_accuracy is not None and (offer.accuracy is None or offer.accuracy < wish.min_accuracy):
        return False
    return bool(wish.point) or not offer.barred


def _worth_having(allowed: Sequence[Offer], samples: int) -> list[Offer]:
    """Return points by rising size without those that take as long as a larger one; so times rise too."""
    ladder: list[Offer] = []
    for offer in sorted(allowed, key=lambda offer: (-offer.macs, offer.name)):
        if not ladder or offer.time_ms(samples) < ladder[-1].time_ms(samples):
            ladder.append(offer)
    return ladder[::-1]


def _within(ladder: Sequence[Offer], wish: Wish, load: Load, previous: str, rules: Rules) -> Decision:
    """Return the largest point of a ladder that fits the budget, or that the server is busy."""
    budget = math.inf if wish.budget_ms is None else wish.budget_ms
    planned = budget * (1 - rules.reserve) if load.ahead_ms > 0 else budget
    alone = {offer.name: offer.time_ms(wish.samples) * load.slowdown for offer in ladder}
    predicted = {name: time + load.ahead_ms for name, time in alone.items()}
    fitting = [offer for offer in ladder if predicted[offer.name] <= planned]
    if not fitting:
        return _squeezed(ladder[0], wish, load, alone[ladder[0].name], planned)
    last = _place(ladder, previous)
    easy = [
        offer
        for place, offer in enumerate(fitting)
        if load.ahead_ms <= 0 or place <= last or predicted[offer.name] <= (1 - rules.margin) * planned
    ]
    chosen = easy[-1]
    why = (
        f"the largest point within {budget:.4g} ms" if chosen is fitting[-1] else "a larger point has no room to spare"
    )
    return Decision(chosen.name, predicted[chosen.name], _reason(wish, why))


def _squeezed(fastest: Offer, wish: Wish, load: Load, alone: float, planned: float) -> Decision:
    """Return the decision where nothing fits behind the work as it stands: what is ahead may get smaller points too."""
    least = alone + min(load.ahead_ms, load.least_ms)
    if load.ahead_ms <= 0:  # calls are slow just now: unless one is tried, nobody learns when that is over
        return Decision(fastest.name, least, _reason(wish, "the fastest point: calls are slow just now"))
    if least <= planned:
        return Decision(fastest.name, least, _reason(wish, "the fastest point: so are those ahead"))
    why = f"{least - alone:.3g} ms of work are ahead: {fastest.name} would answer after {least:.3g} ms"
    return _busy(alone / load.slowdown, load, f"{why}; the budget is {wish.budget_ms:g} ms", least - planned)


def _place(ladder: Sequence[Offer], previous: str) -> int:
    """Return how far up the ladder the last answer came from: the whole of it for none or for one that is not on it."""
    names = [offer.name for offer in ladder]
    return names.index(previous) if previous in names else len(ladder) - 1


def _reason(wish: Wish, why: str) -> str:
    return "asked for by name" if wish.point else why


def _busy(least: float, load: Load, why: str, wait_ms: float) -> Decision:
    return Decision("", least * load.slowdown, why, "busy", max(wait_ms, 1.0) / 1000)


def _why_none(offers: Sequence[Offer], wish: Wish) -> str:
    """Return why no point may answer at all."""
    if wish.min_accuracy is None:
        return f"no point meets {next((offer.barred for offer in offers if offer.barred), 'what is asked for')}"
    known = [offer.accuracy for offer in offers if offer.accuracy is not None and _may_answer(offer, _named(wish))]
    best = f"the best has {max(known):.4g}" if known else "the file holds no such figure"
    return f"no point has an accuracy of {wish.min_accuracy:g}: {best}"


def _named(wish: Wish) -> Wish:
    return Wish(wish.samples, point=wish.point)
