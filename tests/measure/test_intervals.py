"""Order statistics and the paired interval: against numpy, and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concertina.errors import InputError
from concertina.measure.intervals import median_interval, paired_interval, quantile

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


@given(numbers, st.floats(0, 1))
def test_quantiles_equal_numpy(values: list[float], share: float) -> None:
    assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-6)


@given(numbers)
def test_the_interval_of_the_median_holds_it_and_needs_six_values(values: list[float]) -> None:
    interval = median_interval(values)
    assert (interval is None) == (len(values) < 6)
    if interval:
        assert min(values) <= interval[0] <= quantile(values, 0.5) <= interval[1] <= max(values)


def test_the_interval_of_the_median_holds_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(3).exponential(size=(2000, 30))
    held = [low <= np.log(2) <= high for low, high in map(median_interval, draws.tolist())]
    assert 0.945 <= np.mean(held) <= 0.985


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.5)])
def test_a_quantile_of_nothing_is_refused(values: list[float], share: float) -> None:
    with pytest.raises(InputError, match="quantile: got"):
        quantile(values, share)


def test_the_paired_interval_holds_the_truth_as_often_as_it_says() -> None:
    chance = np.random.default_rng(5)
    for first, second, n in ((0.1, 0.05, 60), (0.02, 0.02, 200), (0.3, 0.1, 25)):
        counts = chance.multinomial(n, [first, second, 1 - first - second], size=1500)
        ends = [paired_interval(int(a), int(b), n) for a, b, _ in counts]
        held = np.mean([low <= first - second <= high for low, high in ends])
        assert held >= 0.935


@settings(max_examples=60)
@given(st.integers(1, 500), st.data())
def test_the_paired_interval_turns_round_with_its_sides_and_holds_what_was_measured(
    n: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, n))
    second = data.draw(st.integers(0, n - first))
    low, high = paired_interval(first, second, n)
    assert (-high, -low) == pytest.approx(paired_interval(second, first, n))
    assert -1 <= low <= (first - second) / n <= high <= 1


@pytest.mark.parametrize("counts", [(0, 0, 0), (3, 3, 5), (-1, 0, 4)])
def test_counts_that_do_not_fit_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="paired difference: got"):
        paired_interval(*counts)
