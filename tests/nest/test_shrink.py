"""The growth order by measurement: what the loss misses least goes first."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.nest.test_growth import LinearCosts, _width, spaces

from concertina.nest import shrink_order
from concertina.types import Dim, Member, Space, SubnetSpec


@given(spaces(), st.integers(0, 1000))
def test_any_loss_gives_an_order_from_the_smallest_to_the_full_network(space: Space, seed: int) -> None:
    costs = LinearCosts(space, dict.fromkeys(space.by_name, 3))
    odd = (math.nan, math.inf, -1.0)

    def loss_of(spec: SubnetSpec) -> float:
        assert space.check(spec) == spec
        draw = random.Random(f"{seed} {spec.text}")
        return draw.choice(odd) if draw.random() < 0.1 else draw.random()

    order = shrink_order(space, costs.macs, loss_of)
    assert order.spec(0) == space.smallest
    assert order.spec(len(order)) == space.full
    assert order == shrink_order(space, costs.macs, loss_of)


def test_what_is_never_missed_goes_first() -> None:
    space = Space((_width("idle", 8, ()), _width("used", 8, ())))
    costs = LinearCosts(space, {"width:idle": 1, "width:used": 100})
    order = shrink_order(space, costs.macs, lambda spec: 8.0 - spec["width:used"])
    grown = [space.dims[step].target for step in order.steps]
    assert grown == ["used"] * 7 + ["idle"] * 7


def test_of_two_blocks_that_stand_in_for_each_other_one_stays_wide() -> None:
    gates = [Dim(f"depth:{b}", "depth", b, (0, 1), (Member(f"{b}.w", -1, "gate"),)) for b in "ab"]
    widths = [_width(f"{b}.w", 8, (f"depth:{b}",)) for b in "ab"]
    space = Space((*gates, *widths))
    costs = LinearCosts(space, {"depth:a": 1, "depth:b": 1, "width:a.w": 10, "width:b.w": 10})

    def loss_of(spec: SubnetSpec) -> float:
        strength = [spec[f"depth:{b}"] * (spec[f"width:{b}.w"] / 8) ** 2 for b in "ab"]
        return 1.0 - max(strength)

    order = shrink_order(space, costs.macs, loss_of)
    half = next(order.spec(i) for i in range(len(order), -1, -1) if costs.macs(order.spec(i)) <= 90)
    assert sorted((half["width:a.w"], half["width:b.w"])) == [1, 8]


def test_progress_tells_what_is_gone() -> None:
    space = Space((_width("a", 8, ()), _width("b", 8, ())))
    told: list[float] = []
    shrink_order(space, LinearCosts(space, {"width:a": 1, "width:b": 1}).macs, lambda spec: 0.0, told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(14 / 16)
