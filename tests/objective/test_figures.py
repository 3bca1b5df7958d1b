"""Intervals and ranks against slow definitions and known values."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from concertina.objective.intervals import correlation, mean_interval, ranks, spearman, wilson


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_holds_the_share_and_solves_its_equation(n: int, share: float) -> None:
    hits = round(share * n)
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(hits / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n), abs=1e-6)


def test_wilson_without_samples_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_mean_of_losses_has_no_interval_below_zero() -> None:
    losses = torch.tensor([0.0] * 9 + [1.0])
    low, high = mean_interval(losses)
    assert low == 0.0 < high
    assert mean_interval(losses - 0.5)[0] < -0.5


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30))
def test_ranks_equal_their_definition(values: list[int]) -> None:
    expected = [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]
    assert ranks(torch.tensor(values)).tolist() == expected


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=30))
def test_correlations_agree_with_the_reference(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = (torch.tensor(row, dtype=torch.float64) for row in zip(*pairs, strict=True))
    value, low, high = spearman(a, b)
    assert low <= value <= high
    if len(a.unique()) == 1 or len(b.unique()) == 1:
        assert (value, low, high) == (0.0, -1.0, 1.0)
    else:
        assert value == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-9)
        assert correlation(a, b) == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-9)


def test_spearman_sees_order_alone() -> None:
    a = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert spearman(a, a.exp())[0] == pytest.approx(1.0)
    assert spearman(a, -a)[0] == pytest.approx(-1.0)


def test_the_interval_of_spearman_covers_the_truth_about_95_times_in_100() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = 6 / math.pi * math.asin(0.6 / 2)
    covered = 0
    for _ in range(400):
        a, noise = torch.randn(2, 60, generator=generator, dtype=torch.float64)
        _, low, high = spearman(a, 0.6 * a + 0.8 * noise)
        covered += low <= truth <= high
    assert 365 <= covered <= 395


def test_the_interval_of_a_mean() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    low, high = mean_interval(values)
    assert (low + high) / 2 == pytest.approx(float(values.mean()), abs=1e-6)
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(1000), rel=0.05)
    assert mean_interval(torch.tensor([3.0])) == (3.0, 3.0)
