"""Who answers: the policy, with what a session learns of how fast calls go and how often requests come. No clock."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from concertina.errors import BudgetError, BusyError
from concertina.serve.batching import Job
from concertina.serve.policy import Decision, Load, Policy, Wish
from concertina.serve.turns import Pace, Turn, in_turn

KINDS_KEPT = 256
"""Of how many kinds of requests it is remembered which point answered last."""
GRACE = 1.2
"""A request whose turn comes too late is still answered if that takes no more than this many times its budget."""
SLOWER, QUICKER = 1.06, 0.97
"""One step of how fast calls go now: so two of three calls end in time, and a single stray one changes little."""
SLOWEST, FASTEST = 20.0, 0.5
"""How far calls may be from what was measured, as the policy sees it."""

GAPS_KEPT = 16
"""How often requests come is the mean over about so many gaps between them."""
LEAST_GAP_MS, MOST_GAP_MS = 1e-3, 10_000.0
"""No gap counts as shorter or longer."""


class Chooser:
    """Decides for each request, when it comes and when its turn has come; one thread at a time.

    Args:
        policy: The points and rules.
        refused: Told why, of each request without an answer.
    """

    def __init__(self, policy: Policy, refused: Callable[[str], None]) -> None:
        self.policy, self._refused = policy, refused
        self.slowdown = 1.0
        """How much longer calls take now than when they were measured."""
        self._gap_ms, self._came_s = math.inf, -math.inf
        self._offers = {offer.name: offer for offer in policy.offers}
        self._previous: OrderedDict[tuple[Any, ...], str] = OrderedDict()

    def time_ms(self, point: str, samples: int) -> float:
        """Return how long a call takes as things go now."""
        return self._offers[point].time_ms(samples) * self.slowdown

    def least_ms(self, wish: Wish) -> float:
        """Return the time of the fastest point that may answer, as measured; in company where that is quicker."""
        return self.policy.ladder(wish)[0].share_ms(wish.samples)

    def suits(self, job: Job, point: str) -> bool:
        """Return whether a point may answer a job in the queue."""
        return point == job.decision.point or self.policy.may_answer(job.wish, point)

    def admit(self, kind: tuple[Any, ...], wish: Wish, load: Load, now: float) -> Decision:
        """Return the decision for a request that comes, and remember it.

        Args:
            kind: What requests of one kind have in common.
            wish: What it asks for.
            load: What stands before it, all but the slowdown.
            now: Seconds, by the clock of all arrivals.

        Raises:
            BudgetError, BusyError: The request is refused.
        """
        self._came(now)
        load = replace(load, slowdown=self.slowdown, least_ms=load.least_ms * self.slowdown)
        decision = self.policy.decide(wish, load, self._previous.get(kind, ""))
        if decision.refusal:
            self._refused(decision.refusal)
        if decision.refusal == "impossible":
            raise BudgetError("no point can answer this request", asked=decision.why)
        if decision.refusal == "busy":
            raise BusyError("too much work is ahead", asked=decision.why, retry_after_s=decision.retry_after_s)
        self._previous[kind] = decision.point
        self._previous.move_to_end(kind)
        while len(self._previous) > KINDS_KEPT:
            self._previous.popitem(last=False)
        return decision

    def settle(self, job: Job, behind: Sequence[Job], now: float) -> Decision | None:
        """Return the decision for a job whose turn has come; None once its future knows that there is no answer.

        Args:
            job: The job.
            behind: Those that wait behind it, of its priority.
            now: Seconds, by the clock of their arrivals.
        """
        head, hurried = self._turn(job, now), job.wish.budget_ms is not None
        if not hurried and not behind:
            return job.decision
        pace = Pace(self.slowdown, max(self._gap_ms, 1000 * (now - self._came_s), LEAST_GAP_MS))
        point = in_turn(self.policy, head, [self._turn(one, now) for one in behind], pace)
        if not hurried and self._offers[point].macs > self._offers[job.decision.point].macs:
            return job.decision
        takes_ms = self.time_ms(point, job.wish.samples)
        late_ms = takes_ms - head.left_ms
        if hurried and late_ms > (GRACE - 1) * (job.wish.budget_ms or 0.0):
            self._refuse(job, late_ms, takes_ms)
            return None
        if point == job.decision.point:
            return job.decision
        return Decision(point, job.decision.predicted_ms, self._why(point, job.decision.point, late=late_ms > 0))

    def took(self, point: str, samples: int, compute_ms: float) -> None:
        """Learn from a call how fast calls go now."""
        ratio = compute_ms / self._offers[point].time_ms(samples)
        step = SLOWER if ratio > self.slowdown else QUICKER
        self.slowdown = min(max(self.slowdown * step, FASTEST), SLOWEST)

    def _came(self, now: float) -> None:
        """Learn how often requests come."""
        gap_ms = min(1000 * max(now - self._came_s, 0.0), MOST_GAP_MS)
        self._gap_ms = gap_ms if self._gap_ms == math.inf else self._gap_ms + (gap_ms - self._gap_ms) / GAPS_KEPT
        self._came_s = now

    def _turn(self, job: Job, now: float) -> Turn:
        return Turn(job.wish, 1000 * (job.deadline_s - now))

    def _why(self, point: str, planned: str, *, late: bool) -> str:
        if late:
            return "the fastest point: the wait was longer than foreseen"
        if self._offers[point].macs > self._offers[planned].macs:
            return "a larger point: fewer wait than foreseen"
        return "a smaller point: more wait than foreseen"

    def _refuse(self, job: Job, late_ms: float, takes_ms: float) -> None:
        self._refused("busy")
        asked = f"{late_ms:.3g} ms more than the budget"
        error = BusyError("the wait was longer than foreseen", asked=asked, retry_after_s=takes_ms / 1000)
        job.future.set_exception(error)
