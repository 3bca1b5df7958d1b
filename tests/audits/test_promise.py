"""Promised bounds on false negatives hold as often as is said, for every candidate tried, and the test can fail."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from concertina.audits import CONFIDENCE, GUARANTEES
from concertina.family.promises import promise_at
from concertina.measure.answers import Answers
from concertina.measure.intervals import binomial_cdf, share_at_most
from concertina.types import Point, SubnetSpec

DRAWS = 1000
POINT = Point("p50", SubnetSpec.of({}), 0, 1, 1, 4, 0.5)
SLACK = 3 * math.sqrt(0.05 * 0.95 / DRAWS)
"""Three standard errors of a share of 5% of the draws."""


def drawn(class_rate: float, samples: int, generator: torch.Generator) -> Answers:
    """Return a network whose true false-negative rate at threshold t is t: its scores of the class are uniform."""
    labels = (torch.rand(samples, generator=generator) >= class_rate).long()
    scores = torch.rand(samples, generator=generator, dtype=torch.float64)
    scores = torch.where(labels == 0, scores, scores**3).clamp(1e-9, 1 - 1e-9)
    return Answers("", torch.stack([scores.log(), (1 - scores).log()], 1), labels, ("cat", "other"))


def thresholds(class_rate: float, samples: int, bound: float, *, asked: int, corrected: int) -> Tensor:
    """Return thresholds (draws, asked) for networks as of `drawn`, all draws at once, as `promise_at` does for each."""
    generator, guarantee = torch.Generator().manual_seed(7), GUARANTEES.get("binomial")()
    counts = (torch.rand(DRAWS, asked, samples, generator=generator) < class_rate).sum(-1)
    scores = torch.rand(DRAWS, asked, int(counts.max()), generator=generator, dtype=torch.float64)
    scores[torch.arange(scores.shape[-1]) >= counts[..., None]] = 2.0
    misses = {n: guarantee.misses(n, bound, corrected) for n in counts.unique().tolist()}
    places = torch.tensor([[misses[n] for n in row] for row in counts.tolist()])
    return scores.sort(-1).values.gather(-1, places[..., None])[..., 0]


@pytest.mark.parametrize(("class_rate", "samples", "bound"), [(0.05, 3000, 0.05), (0.7, 300, 0.1)])
def test_the_bound_is_broken_in_no_more_than_one_draw_in_twenty(class_rate: float, samples: int, bound: float) -> None:
    generator, guarantee, failed = torch.Generator().manual_seed(7), GUARANTEES.get("binomial")(), 0
    for _ in range(DRAWS):
        made = promise_at(POINT, drawn(class_rate, samples, generator), ("cat", bound, 0.0), guarantee, 1)
        failed += made.threshold > bound
    assert failed / DRAWS <= 0.05 + SLACK


@pytest.mark.parametrize(("class_rate", "samples"), [(0.1, 1500), (0.7, 300)])
def test_all_that_is_asked_for_together_holds_together_and_uncorrected_does_not(
    class_rate: float, samples: int
) -> None:
    together = thresholds(class_rate, samples, 0.1, asked=10, corrected=10) > 0.1
    uncorrected = thresholds(class_rate, samples, 0.1, asked=10, corrected=1) > 0.1
    assert float(together.any(-1).double().mean()) <= 0.05 + SLACK
    assert float(uncorrected.any(-1).double().mean()) > 0.15
    assert float(uncorrected[:, 0].double().mean()) <= 0.05 + SLACK


def test_the_share_of_misses_alone_would_break_its_bound_every_other_time() -> None:
    generator, failed = torch.Generator().manual_seed(7), 0
    for _ in range(DRAWS):
        made = drawn(0.5, 400, generator)
        scores = made.probabilities[made.labels == 0, 0].sort().values
        failed += float(scores[int(0.1 * len(scores))]) > 0.1
    assert failed / DRAWS > 0.4


def test_a_conformal_bound_holds_on_average_and_says_that_it_is_no_more() -> None:
    generator, guarantee = torch.Generator().manual_seed(7), GUARANTEES.get("conformal")()
    made = [
        promise_at(POINT, drawn(0.5, 400, generator), ("cat", 0.1, 0.0), guarantee, 9).threshold for _ in range(400)
    ]
    rates = torch.tensor(made)
    assert float(rates.mean()) <= 0.1 + 3 * float(rates.std()) / math.sqrt(400)
    assert float((rates > 0.1).float().mean()) > 0.25
    assert guarantee.confidence == 0.0
    assert GUARANTEES.get("binomial").confidence == CONFIDENCE


@pytest.mark.parametrize("method", GUARANTEES.names())
@pytest.mark.parametrize("statements", [1, 50])
@pytest.mark.parametrize("bound", [0.003, 0.02, 0.1, 0.5, 0.97])
def test_the_samples_said_to_be_needed_are_just_enough(method: str, statements: int, bound: float) -> None:
    guarantee = GUARANTEES.get(method)()
    needed = guarantee.samples(bound, statements)
    assert guarantee.misses(needed, bound, statements) >= 0
    assert needed == 0 or guarantee.misses(max(1, needed - 1), bound, statements) == -1 or needed == 1
    for n in (needed, needed + 7, 10 * needed + 3):
        allowed = guarantee.misses(max(n, 1), bound, statements)
        assert allowed < max(n, 1)
        assert guarantee.at_most(allowed, max(n, 1), statements) <= bound + 1e-9


def test_the_chances_are_those_of_the_binomial_distribution() -> None:
    for n, share in ((1, 0.5), (40, 0.01), (3000, 0.05), (3000, 0.999)):
        wanted = torch.from_numpy(binom.cdf(range(n + 1), n, share))
        assert torch.allclose(binomial_cdf(n, share, n), wanted, atol=1e-10)


@pytest.mark.parametrize(("misses", "n"), [(0, 10), (3, 250), (9, 10)])
def test_the_upper_bound_is_where_so_few_misses_become_unlikely(misses: int, n: int) -> None:
    assert binom.cdf(misses, n, share_at_most(misses, n, 0.05)) == pytest.approx(0.05, rel=1e-6)
    assert share_at_most(n, n, 0.05) == 1.0


def test_the_threshold_is_the_largest_that_misses_no_more_than_allowed() -> None:
    made = drawn(0.5, 500, torch.Generator().manual_seed(1))
    guarantee = GUARANTEES.get("binomial")()
    promise = promise_at(POINT, made, ("cat", 0.1, 0.0), guarantee, 1)
    own = made.probabilities[made.labels == 0, 0]
    allowed = guarantee.misses(len(own), 0.1, 1)
    assert int((own < promise.threshold).sum()) == allowed
    assert int((own <= promise.threshold).sum()) == allowed + 1
    assert promise.false_negative_rate.value == pytest.approx(allowed / len(own))
    assert promise.false_negative_rate.high <= 0.1
    found = promise.found(made.logits)
    assert float(found[made.labels == 0].float().mean()) == pytest.approx(1 - allowed / len(own))
    assert promise.false_positive_rate.value == pytest.approx(float(found[made.labels == 1].float().mean()))
    assert promise.precision.value == pytest.approx(float((made.labels[found] == 0).float().mean()))


def test_equal_scores_are_all_found_or_all_missed() -> None:
    logits = torch.zeros(400, 2, dtype=torch.float64)
    made = Answers("", logits, torch.arange(400) % 2, ("cat", "dog"))
    promise = promise_at(POINT, made, ("cat", 0.1, 0.0), GUARANTEES.get("binomial")(), 1)
    assert bool(promise.found(logits).all())
    assert (promise.false_negative_rate.value, promise.false_positive_rate.value) == (0.0, 1.0)
