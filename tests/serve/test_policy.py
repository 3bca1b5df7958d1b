"""The policy: whatever the table and the queue, it keeps the budget, the floor and its calm."""

from __future__ import annotations

import ast
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.house.sources import PACKAGE, imports

from concertina.serve.policy import Load, Offer, Policy, Rules, Wish
from concertina.serve.turns import Pace, Turn, in_turn

TIMES = st.floats(0.01, 100.0)
BUDGETS = st.floats(0.01, 1000.0)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Draw points whose times and accuracies need not follow their sizes."""
    count = draw(st.integers(1, 6))
    offers = [
        Offer(f"p{place}", place + 1, {1: time, 8: time * draw(st.floats(1.0, 8.0))}, draw(st.floats(0.0, 1.0)))
        for place, time in enumerate(draw(st.lists(TIMES, min_size=count, max_size=count)))
    ]
    return Policy(offers, Rules(limit=10))


def ladder(*times: float, patience: float = 8.0) -> Policy:
    """Return a policy with points p0, p1 ... of these times for one sample, accuracies rising from 0.5 by 0.1."""
    offers = [Offer(f"p{i}", i + 1, {1: time}, 0.5 + 0.1 * i) for i, time in enumerate(times)]
    return Policy(offers, Rules(patience=patience))


@given(policies(), BUDGETS, st.floats(0, 500), st.integers(1, 8), st.floats(0.5, 4.0), st.data())
def test_never_above_the_budget_while_something_fits(
    policy: Policy, budget: float, ahead: float, samples: int, slowdown: float, data: st.DataObject
) -> None:
    previous = data.draw(st.sampled_from(["", *(offer.name for offer in policy.offers)]))
    decision = policy.decide(Wish(samples, budget), Load(ahead, 0, slowdown), previous)
    totals = {offer.name: offer.time_ms(samples) * slowdown + ahead for offer in policy.offers}
    if decision.point and min(totals.values()) > budget:
        assert (ahead, decision.point) == (0, min(totals, key=totals.__getitem__))
    elif decision.point:
        assert totals[decision.point] <= budget
        assert decision.predicted_ms == pytest.approx(totals[decision.point])
    elif decision.refusal == "busy":
        assert min(totals.values()) > budget * (1 - policy.rules.reserve)
        assert decision.retry_after_s > 0
    else:
        assert min(offer.time_ms(samples) for offer in policy.offers) > budget


@given(policies(), st.none() | BUDGETS, st.floats(0, 500), st.floats(0, 1))
def test_never_under_the_floor(policy: Policy, budget: float | None, ahead: float, floor: float) -> None:
    decision = policy.decide(Wish(1, budget, min_accuracy=floor), Load(ahead))
    accuracies = {offer.name: offer.accuracy or 0.0 for offer in policy.offers}
    assert not decision.point or accuracies[decision.point] >= floor
    assert (decision.refusal == "impossible") >= (max(accuracies.values()) < floor)


@given(policies(), st.none() | BUDGETS, st.floats(0, 500), st.floats(0, 500), st.data())
def test_more_work_ahead_never_gives_a_larger_point(
    policy: Policy, budget: float | None, one: float, other: float, data: st.DataObject
) -> None:
    previous = data.draw(st.sampled_from(["", *(offer.name for offer in policy.offers)]))
    less, more = (policy.decide(Wish(1, budget), Load(ahead), previous) for ahead in sorted((one, other)))
    sizes = {"": 0} | {offer.name: offer.macs for offer in policy.offers}
    assert sizes[more.point] <= sizes[less.point]


@given(policies(), st.floats(0.5, 4.0), st.data())
def test_at_idle_without_a_budget_the_largest_answers(policy: Policy, slowdown: float, data: st.DataObject) -> None:
    previous = data.draw(st.sampled_from(["", *(offer.name for offer in policy.offers)]))
    decision = policy.decide(Wish(), Load(0.0, 0, slowdown), previous)
    assert decision.point == policy.offers[-1].name


@given(policies(), st.floats(0, 10), st.data())
def test_at_idle_with_a_budget_that_fits_the_largest_answers(policy: Policy, spare: float, data: st.DataObject) -> None:
    previous = data.draw(st.sampled_from(["", *(offer.name for offer in policy.offers)]))
    largest = policy.offers[-1]
    assert policy.decide(Wish(1, largest.time_ms(1) + spare), Load(), previous).point == largest.name


@given(st.lists(st.floats(0.1, 1.4), min_size=2, max_size=40))
def test_a_queue_that_trembles_does_not_make_answers_flap(aheads: list[float]) -> None:
    policy, previous, changes = ladder(1.0, 4.0, 9.0), "p2", []
    for ahead in aheads:  # p2 stops fitting at 1.0 ms; what lies above is within the margin
        point = policy.decide(Wish(1, 10.0 / 0.9), Load(ahead), previous).point
        changes += [point] if point != previous else []
        previous = point
    assert len(changes) <= 1


def test_a_calm_queue_brings_the_larger_point_back() -> None:
    policy = ladder(1.0, 5.0)
    assert policy.decide(Wish(1, 10.0), Load(3.9), "p0").point == "p0"
    assert policy.decide(Wish(1, 10.0), Load(3.9), "p1").point == "p1"
    assert policy.decide(Wish(1, 10.0), Load(2.5), "p0").point == "p1"


def test_under_overload_smaller_points_come_first_and_refusal_last() -> None:
    policy, seen = ladder(1.0, 4.0, 9.0), []
    for ahead in range(60):
        decision = policy.decide(Wish(1, 50.0), Load(float(ahead)))
        seen += [decision.point or decision.refusal]
    assert list(dict.fromkeys(seen)) == ["p2", "p1", "p0", "busy"]


def test_without_a_budget_a_long_queue_gives_smaller_points_until_it_is_full() -> None:
    policy = ladder(1.0, 4.0, 10.0, patience=3)
    points = [policy.decide(Wish(), Load(ahead, 5)).point for ahead in (0.0, 5.0, 22.0, 28.0, 1000.0)]
    assert points == ["p2", "p2", "p1", "p0", "p0"]
    full = policy.decide(Wish(), Load(1000.0, 256))
    assert (full.point, full.refusal, full.retry_after_s) == ("", "busy", 0.5)
    assert "256 requests are waiting" in full.why


def test_what_can_never_fit_is_told_apart_from_a_busy_server() -> None:
    policy = ladder(2.0, 4.0)
    hopeless = policy.decide(Wish(1, 1.0))
    assert (hopeless.refusal, hopeless.why) == ("impossible", "p0 is the fastest and takes 2 ms; the budget is 1 ms")
    busy = policy.decide(Wish(1, 3.0), Load(9.0))
    assert (busy.refusal, busy.retry_after_s) == ("busy", pytest.approx(0.0083))
    unknown = Policy([Offer("p0", 1, {1: 1.0})]).decide(Wish(min_accuracy=0.5))
    assert unknown.why == "no point has an accuracy of 0.5: the file holds no such figure"


def test_a_named_point_answers_or_nothing_does() -> None:
    policy = Policy([Offer("p0", 1, {1: 1.0}, barred="recall[cat]>=0.8"), Offer("p1", 2, {1: 5.0})])
    assert policy.decide(Wish(point="p0"), Load(100.0)).why == "asked for by name"
    assert policy.decide(Wish(1, 3.0, point="p1")).refusal == "impossible"
    assert policy.decide(Wish(1, 3.0)).refusal == "impossible"
    assert policy.decide(Wish(), Load(1e6)).point == "p1"


def test_the_policy_knows_no_clock_and_no_network() -> None:
    tree = ast.parse((PACKAGE / "serve" / "policy.py").read_text(encoding="utf-8"))
    modules = {module.partition(".")[0] for module, _ in imports(tree)}
    assert modules == {"__future__", "collections", "dataclasses", "math", "typing"}


def test_slow_calls_are_tried_again_at_idle() -> None:
    decision = ladder(1.0, 4.0).decide(Wish(1, 2.0), Load(0.0, 0, 10.0))
    assert (decision.point, decision.why) == ("p0", "the fastest point: calls are slow just now")
    assert ladder(1.0, 4.0).decide(Wish(1, 2.0), Load(0.1, 0, 10.0)).refusal == "busy"


def test_behind_work_that_can_shrink_a_request_is_taken_for_the_fastest_point() -> None:
    policy = ladder(1.0, 4.0)
    told = policy.decide(Wish(1, 20.0), Load(30.0, 5, least_ms=6.0))
    assert (told.point, told.predicted_ms, told.why) == ("p0", 7.0, "the fastest point: so are those ahead")
    assert policy.decide(Wish(1, 20.0), Load(30.0, 5, least_ms=17.5)).refusal == "busy"


def test_in_its_turn_a_request_leaves_time_to_those_behind_it() -> None:
    policy, wish = ladder(1.0, 4.0, 10.0), Wish(1, 50.0)
    head, waiting = Turn(wish, 40.0), Turn(wish, 45.0)
    assert [in_turn(policy, head, [waiting] * count) for count in (0, 1, 3, 12)] == ["p2", "p2", "p1", "p0"]
    assert in_turn(policy, head, [Turn(Wish(), math.inf)] * 99) == "p2"
    assert in_turn(policy, Turn(Wish(1, 50.0, point="p2"), 40.0), [waiting] * 99) == "p2"
    assert in_turn(policy, head, [waiting], Pace(slowdown=3.0)) == "p0"


def test_in_its_turn_a_request_leaves_time_to_those_who_are_to_come() -> None:
    policy, head = ladder(1.0, 4.0, 10.0), Turn(Wish(1, 50.0), 50.0)
    assert [in_turn(policy, head, [], Pace(gap_ms=gap)) for gap in (20.0, 7.0, 3.5, 0.5)] == ["p2", "p1", "p1", "p0"]


@given(policies(), BUDGETS, st.lists(st.floats(-10, 500), max_size=8), st.floats(0, 1), st.floats(0.5, 4.0))
def test_in_its_turn_a_request_gets_a_point_that_may_answer_and_no_later_than_need_be(
    policy: Policy, budget: float, behind: list[float], used: float, slowdown: float
) -> None:
    head, turns = Turn(Wish(1, budget), budget * (1 - used)), [Turn(Wish(1, budget), left) for left in behind]
    times = {offer.name: offer.time_ms(1) * slowdown for offer in policy.offers}
    point = in_turn(policy, head, turns, Pace(slowdown))
    assert times[point] <= max(head.left_ms, min(times.values()))
    sizes = {offer.name: offer.macs for offer in policy.offers}
    assert sizes[in_turn(policy, head, [*turns, Turn(Wish(1, budget), 0.0)], Pace(slowdown))] <= sizes[point]
