"""The predictor: right where it has seen enough, unsure where it has not."""

from __future__ import annotations

import numpy as np
import pytest
from tests.search.subjects import SPACE, quality, searched

from concertina.search.predictor import Predictor
from concertina.search.specs import as_numbers
from concertina.search.stretch import Stretch


def seen(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    specs = [trial.spec for trial in searched("random", count, seed)]
    return as_numbers(SPACE, specs), np.array([quality(spec) for spec in specs])


def test_unseen_specs_are_ranked_as_they_will_be_measured() -> None:
    within = []
    for seed in range(8):
        numbers, scores = seen(60, seed)
        stretch = Stretch.over(scores)
        predictor = Predictor.learn(numbers, stretch.to_target(scores))
        others, truth = seen(200, 100 + seed)
        means, spreads = predictor.predict(others)
        assert np.corrcoef(means, stretch.to_target(truth))[0, 1] > 0.95
        within.append(np.mean(np.abs(means - stretch.to_target(truth)) / spreads < 2))
    assert np.mean(within) > 0.85


def test_what_is_believed_is_predicted_and_makes_sure() -> None:
    numbers, scores = seen(20, 0)
    predictor = Predictor.learn(numbers, scores)
    other = seen(1, 5)[0]
    before, after = predictor.predict(other), predictor.believe(other[0], 0.9).predict(other)
    assert after[1][0] < 0.5 * before[1][0]
    assert abs(after[0][0] - 0.9) < abs(before[0][0] - 0.9)


def test_equal_measurements_do_not_trouble_it() -> None:
    numbers, _ = seen(10, 0)
    means, spreads = Predictor.learn(numbers, np.full(10, 0.5)).predict(numbers)
    assert means == pytest.approx(0.5)
    assert np.isfinite(spreads).all()


@pytest.mark.parametrize("scores", [[0.1, 0.5, 0.99, 1.0], [-40.0, -12.5, -0.1], [3.0, 30.0]])
def test_scores_come_back_from_the_scale_of_their_errors(scores: list[float]) -> None:
    stretch = Stretch.over(np.array(scores))
    targets = stretch.to_target(np.array(scores))
    assert list(targets) == sorted(targets)
    assert stretch.to_score(targets) == pytest.approx(scores)
