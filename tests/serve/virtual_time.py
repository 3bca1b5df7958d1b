"""The queue and the policy of a session in virtual time: what a load would do, the same on every machine."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from concertina.errors import BusyError
from concertina.serve.batching import Job, Waiting
from concertina.serve.choosing import Chooser
from concertina.serve.policy import Offer, Policy, Rules, Wish

INPUT = (torch.zeros(1, 1),)


@dataclass(frozen=True)
class Told:
    """What came of a request."""

    point: str = ""
    """Empty where it was refused."""
    total_ms: float = math.inf
    batch: int = 0


def served(
    offers: Sequence[Offer],
    arrivals_s: Sequence[float],
    wish: Wish,
    *,
    rules: Rules | None = None,
    each_ms: float = 0.0,
    noise: float = 0.0,
    max_batch: int = 16,
) -> list[Told]:
    """Return what would come of requests that are all alike.

    Args:
        offers: The points, with the times that the policy knows.
        arrivals_s: When they come, rising.
        wish: What each asks for.
        rules: Of the policy.
        each_ms: Time that each request costs beside the network: reading, answering.
        noise: Spread of the real times of calls around those known.
        max_batch: Most samples in one call.
    """
    now = [0.0]
    chooser = Chooser(Policy(offers, rules or Rules()), lambda _reason: None)
    waiting = Waiting(max_batch, chooser.time_ms, chooser.settle, chooser.suits, lambda: now[0])
    chance, found, free_s, held = random.Random(0), [Told()] * len(arrivals_s), 0.0, {}
    times = {offer.name: offer for offer in offers}

    def work(until_s: float) -> None:
        """Let calls begin that begin before a time."""
        nonlocal free_s
        while len(waiting) and free_s < until_s:
            now[0] = max(free_s, now[0])
            batch = waiting._next()
            if not batch:
                continue
            point, count = batch[0].decision.point, len(batch)
            took = times[point].time_ms(count) * chance.lognormvariate(0.0, noise) + each_ms * count
            waiting._busy_until_s = now[0] + chooser.time_ms(point, count) / 1000
            free_s = now[0] + took / 1000
            chooser.took(point, count, took)
            for job in batch:
                found[held[job.number]] = Told(point, 1000 * (free_s - job.arrived_s), count)

    for number, arrived_s in enumerate(arrivals_s):
        work(arrived_s)
        now[0] = max(now[0], arrived_s) if len(waiting) else arrived_s
        now[0] = arrived_s
        if free_s <= arrived_s:
            waiting._busy_until_s = 0.0
        try:
            with waiting.admission(10) as (load, put):
                decision = chooser.admit(("all",), wish, load, arrived_s)
                job = Job(INPUT, wish, decision, "", 10, arrived_s, math.inf, Future(), chooser.least_ms(wish))
                put(job)
                held[job.number] = number
        except BusyError:
            continue
    work(math.inf)
    return found
