"""The queue: bounded, by priority, together where that makes nobody late."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pytest
import torch

from concertina.errors import BusyError, LateError
from concertina.serve.batching import Job, Waiting
from concertina.serve.policy import Decision, Wish


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def queue(clock: Clock, max_batch: int = 4, settle: Callable[..., Decision | None] | None = None) -> Waiting:
    """Return a queue in which a call takes 10 ms and 1 ms more for each sample."""
    settle = settle or (lambda job, _behind, _now: job.decision)
    return Waiting(max_batch, lambda _point, samples: 10.0 + samples, settle, clock=clock)


def put(
    waiting: Waiting, point: str = "p50", priority: int = 10, *, shape: tuple[int, ...] = (1, 3), **more: float
) -> Job:
    wish = Wish(shape[0], more.get("budget_ms"))
    arrived = waiting.clock()
    expires = arrived + more.get("timeout_ms", math.inf) / 1000
    job = Job((torch.zeros(shape),), wish, Decision(point, 0.0, ""), "", priority, arrived, expires, Future())
    with waiting.admission(priority) as (_, admit):
        admit(job)
    return job


def ahead_ms(waiting: Waiting, priority: int = 10) -> float:
    with waiting.admission(priority) as (load, _):
        return load.ahead_ms


def test_what_waits_for_one_point_goes_together_up_to_the_limit() -> None:
    waiting = queue(Clock())
    jobs = [put(waiting, shape=(samples, 3)) for samples in (1, 2, 2, 1)]
    assert waiting.take() == [jobs[0], jobs[1], jobs[3]]
    assert waiting.take() == [jobs[2]]


def test_points_modules_and_shapes_are_kept_apart() -> None:
    waiting = queue(Clock())
    jobs = [put(waiting), put(waiting, "p100"), put(waiting, shape=(1, 5)), put(waiting)]
    assert waiting.take() == [jobs[0], jobs[3]]
    assert [waiting.take(), waiting.take()] == [[jobs[1]], [jobs[2]]]


def test_company_makes_nobody_late() -> None:
    waiting = queue(Clock())
    hasty = put(waiting, budget_ms=12.5)
    others = [put(waiting, budget_ms=40.0) for _ in range(2)]
    assert waiting.take() == [hasty, others[0]]
    assert waiting.take() == [others[1]]


def test_higher_priorities_go_first_and_count_alone_as_ahead_of_themselves() -> None:
    waiting = queue(Clock())
    usual, urgent = put(waiting, "p50", 10), put(waiting, "p100", 1)
    assert (ahead_ms(waiting, 1), ahead_ms(waiting, 10)) == (11.0, 22.0)
    assert [waiting.take(), waiting.take()] == [[urgent], [usual]]


def test_the_rest_of_the_running_call_is_ahead() -> None:
    clock = Clock()
    waiting = queue(clock)
    assert ahead_ms(waiting) == 0.0
    put(waiting)
    waiting.take()
    clock.now += 0.004
    assert ahead_ms(waiting) == pytest.approx(7.0)
    for _ in range(5):
        put(waiting)
    assert ahead_ms(waiting) == pytest.approx(7.0 + 14.0 + 11.0)


def test_who_waits_longer_than_its_timeout_is_told_so() -> None:
    clock = Clock()
    waiting = queue(clock)
    late, sound = put(waiting, timeout_ms=5.0), put(waiting, timeout_ms=50.0)
    clock.now += 0.01
    assert waiting.take() == [sound]
    with pytest.raises(LateError, match="timeout of the request: got a wait of 10 ms"):
        late.future.result(0)


def test_a_job_that_is_refused_in_its_turn_or_cancelled_is_dropped() -> None:
    def settle(job: Job, _behind: Sequence[Job], _now: float) -> Decision | None:
        return None if job.wish.samples == 2 else Decision("p20", 0.0, "smaller")

    waiting = queue(Clock(), settle=settle)
    put(waiting, shape=(2, 3))
    cancelled, job, same = put(waiting), put(waiting), put(waiting, "p20")
    assert cancelled.future.cancel()
    assert waiting.take() == [job, same]
    assert job.decision.why == "smaller"


def test_company_is_kept_only_where_that_is_quicker() -> None:
    clock = Clock()
    waiting = Waiting(
        4, lambda _point, samples: 10.0 * samples**2, lambda job, _behind, _now: job.decision, clock=clock
    )
    jobs = [put(waiting), put(waiting)]
    assert [waiting.take(), waiting.take()] == [[jobs[0]], [jobs[1]]]


def test_who_may_be_answered_by_the_same_point_joins_and_hears_so() -> None:
    clock = Clock()
    waiting = Waiting(
        4,
        lambda _point, samples: 10.0 + samples,
        lambda _job, behind, _now: Decision("p20", 0.0, f"{len(behind)} of its priority wait"),
        suits=lambda job, point: (point, job.decision.point) != ("p20", "p100"),
        clock=clock,
    )
    jobs = [put(waiting, point) for point in ("p50", "p20", "p100", "p50")]
    put(waiting, "p50", priority=20)
    assert waiting.take()[:3] == [jobs[0], jobs[1], jobs[3]]
    assert {job.decision for job in (jobs[0], jobs[1], jobs[3])} == {Decision("p20", 0.0, "3 of its priority wait")}


@pytest.mark.parametrize("drain", [True, False])
def test_a_closed_queue_lets_nobody_in_and_ends(drain: bool) -> None:
    waiting = queue(Clock())
    job = put(waiting)
    waiting.close(drain=drain)
    with pytest.raises(BusyError, match="closing"):
        put(waiting)
    if drain:
        assert waiting.take() == [job]
    else:
        with pytest.raises(BusyError, match="closed"):
            job.future.result(0)
    assert waiting.take() is None
