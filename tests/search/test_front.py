"""Fronts: who is on them, what they cover, and what a newcomer is expected to add."""

from __future__ import annotations

import math
from types import SimpleNamespace as Place

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concertina.search import Area
from concertina.search.front import front

PLACES = st.lists(st.tuples(st.floats(0.5, 200), st.floats(0, 1)), min_size=1, max_size=12)
AREA = Area(1.0, 100.0, 0.2)


def places(pairs: list[tuple[float, float]]) -> list[Place]:
    return [Place(cost=cost, score=score) for cost, score in pairs]


@given(PLACES)
def test_everything_is_beaten_by_or_on_the_front(pairs: list[tuple[float, float]]) -> None:
    found = places(pairs)
    best = front(found)
    assert all(any(b.cost <= p.cost and b.score >= p.score for b in best) for p in found)
    assert [b.score for b in best] == sorted({b.score for b in best})


@given(PLACES, st.floats(1, 100), st.floats(0, 1))
def test_a_sure_newcomer_is_expected_to_add_what_it_adds(
    pairs: list[tuple[float, float]], cost: float, score: float
) -> None:
    found = places(pairs)
    added = AREA.covered([*found, Place(cost=cost, score=score)]) - AREA.covered(found)
    expected = AREA.expected_gains(found, np.array([cost]), np.array([score]), np.array([1e-9]), lambda scores: scores)
    assert added >= -1e-12
    assert expected[0] == pytest.approx(added, abs=1e-6)


def test_what_is_unsure_may_add_more_than_its_mean() -> None:
    found = places([(10.0, 0.8)])
    sure, unsure = AREA.expected_gains(
        found, np.array([10.0, 10.0]), np.array([0.7, 0.7]), np.array([1e-6, 0.1]), lambda scores: scores
    )
    assert sure == pytest.approx(0)
    assert unsure > 0.01


def test_costs_count_by_their_ratio_and_within_the_area_only() -> None:
    assert AREA.covered(places([(10.0, 0.7)])) == pytest.approx(0.5 * math.log(10))
    assert AREA.covered(places([(0.1, 0.7)])) == pytest.approx(0.5 * math.log(100))
    assert AREA.covered(places([(500.0, 0.9), (5.0, 0.1)])) == 0
