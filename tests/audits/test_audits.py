"""Audited figures are those of the textbook, with intervals that hold, whatever the order or the ties."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import recall_score, roc_auc_score
from torch import Tensor

from concertina.audits import AUDITS, Reference
from concertina.audits.calibration import best_temperature, calibration_error
from concertina.measure.answers import Answers
from concertina.types import Record

NAMES = ("cat", "dog", "cow")


def answers(samples: int = 600, seed: int = 0, sharp: float = 1.0, coarse: bool = False) -> Answers:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, 3, generator=generator, dtype=torch.float64) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return Answers("width:a=8", (logits * sharp).round() if coarse else logits * sharp, labels, NAMES)


def audited(name: str, made: Answers, reference: Reference | None = None) -> dict[tuple[str, str], Record]:
    against = reference or Reference("core", "core", made.labels)
    return {(record.metric, record.scope): record for record in AUDITS.get(name)().records(made, against)}


@pytest.mark.parametrize("coarse", [False, True])
def test_auc_is_that_of_scikit_learn(coarse: bool) -> None:
    made = answers(coarse=coarse)
    found = audited("auc", made)
    probabilities, labels = made.probabilities.numpy(), made.labels.numpy()
    for place, name in enumerate(NAMES):
        wanted = roc_auc_score(labels == place, probabilities[:, place])
        assert found["auc", name].value == pytest.approx(wanted, abs=1e-12)
    wanted = roc_auc_score(labels, probabilities, multi_class="ovr")
    assert found["macro_auc", ""].value == pytest.approx(wanted, abs=1e-12)


def test_intervals_of_auc_hold_the_true_value() -> None:
    truth = {key: record.value for key, record in audited("auc", answers(60_000, seed=1)).items()}
    inside = dict.fromkeys(truth, 0)
    for seed in range(100):
        for key, record in audited("auc", answers(150, seed=100 + seed)).items():
            inside[key] += record.low <= truth[key] <= record.high
    assert min(inside.values()) >= 0.9 * 100
    assert inside["macro_auc", ""] < 100


def test_a_ranking_without_fault_still_has_an_interval() -> None:
    labels = torch.arange(60) % 3
    made = Answers("", torch.eye(3, dtype=torch.float64)[labels] * 9, labels, NAMES)
    record = audited("auc", made)["auc", "dog"]
    assert (record.value, record.high, record.n) == (1.0, 1.0, 20)
    assert 0.8 < record.low < 0.9


def test_recall_is_that_of_scikit_learn_and_the_worst_is_its_class() -> None:
    made = answers()
    found = audited("recall", made)
    wanted = recall_score(made.labels, made.predictions, average=None)
    assert [found["recall", name].value for name in NAMES] == pytest.approx(list(wanted))
    assert found["worst_class_recall", ""].value == pytest.approx(min(wanted))
    assert sum(found["recall", name].n for name in NAMES) == 600
    assert found["recall_minus_core", "cat"].value == pytest.approx(found["recall", "cat"].value - 1)
    assert found["worst_recall_minus_core", ""].value == pytest.approx(min(wanted) - 1)


def test_the_reference_is_named_and_not_compared_with_itself() -> None:
    made = answers()
    full = Reference("full", made.spec, made.predictions)
    assert not [metric for metric, _ in audited("recall", made, full) if "minus" in metric]
    assert audited("churn", made, full) == {}
    other = Reference("full", "width:a=16", made.labels)
    assert {metric for metric, _ in audited("churn", made, other)} == {"changed_from_full", "broken_from_full"}


def test_churn_counts_changes_and_right_answers_that_broke() -> None:
    logits = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 1, 2, 1])]
    made = Answers("", logits, torch.tensor([0, 1, 1, 2]), NAMES)
    found = audited("churn", made, Reference("core", "core", torch.tensor([0, 2, 1, 1])))
    assert (found["churn", ""].value, found["churn", ""].n) == (0.5, 4)
    assert (found["broken_from_core", ""].value, found["broken_from_core", ""].n) == (0.5, 2)


def test_confusions_are_shares_of_the_class_and_with_recall_add_up_to_one() -> None:
    made = answers()
    found, recalls = audited("confusion", made), audited("recall", made)
    for name in NAMES:
        mistaken = sum(r.value for (_, scope), r in found.items() if scope.startswith(f"{name} taken for "))
        assert mistaken + recalls["recall", name].value == pytest.approx(1.0)
    counts = [record.value * record.n for record in found.values()]
    assert counts == sorted(counts, reverse=True)
    right = replace(made, logits=torch.eye(3, dtype=torch.float64)[made.labels])
    assert audited("confusion", right) == {}


def test_the_temperature_undoes_a_sharpening() -> None:
    for sharp in (0.5, 1.0, 3.0):
        found = audited("calibration", answers(4000, sharp=sharp))
        assert found["temperature", ""].low <= sharp <= found["temperature", ""].high
    assert found["ece", ""].low > 0.1
    assert found["ece_tempered", ""].low == 0.0
    assert found["ece_tempered", ""].value < 0.03


def test_a_temperature_that_has_no_optimum_stays_in_its_range() -> None:
    labels = torch.arange(40) % 3
    for sign in (1.0, -1.0):
        value, low, high = best_temperature(torch.eye(3, dtype=torch.float64)[labels] * sign, labels)
        assert low <= value <= high
        assert high <= 50.0


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.1])
def test_the_interval_of_the_calibration_error_holds_the_true_one(shift: float) -> None:
    generator, inside = torch.Generator().manual_seed(3), 0
    for _ in range(100):
        confidences = 0.5 + 0.5 * torch.rand(1000, generator=generator, dtype=torch.float64)
        correct = torch.rand(1000, generator=generator, dtype=torch.float64) < (confidences - shift).clamp(min=0)
        _, low, high = calibration_error(confidences, correct)
        inside += low <= shift <= high
    assert inside >= 0.9 * 100


def test_bins_hold_equal_counts_and_equal_confidences_stay_together() -> None:
    confidences, correct = torch.full((90,), 0.9), torch.arange(90) < 45
    assert calibration_error(confidences, correct)[0] == pytest.approx(0.4)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    assert calibration_error(confidences, correct[order])[0] == pytest.approx(0.4)


def by_hand(confidences: Tensor, correct: Tensor, bins: int) -> float:
    order = confidences.argsort()
    parts = zip(confidences[order].tensor_split(bins), correct[order].double().tensor_split(bins), strict=True)
    return sum(len(sure) * abs(float(sure.mean() - right.mean())) for sure, right in parts) / len(confidences)


def test_the_calibration_error_is_that_of_equal_mass_bins() -> None:
    made = answers(1500, sharp=2.0)
    confidences = made.probabilities.max(1).values
    wanted = by_hand(confidences, made.correct, 15)
    assert audited("calibration", made)["ece", ""].value == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("name", AUDITS.names())
def test_every_figure_has_its_name_its_count_and_an_interval_around_it(name: str) -> None:
    made = answers(90)
    known = {metric.replace("REFERENCE", "core") for metric in AUDITS.get(name).metrics}
    for (metric, scope), record in audited(name, made).items():
        assert metric in known
        assert scope.partition(" taken for ")[0] in ("", *NAMES)
        assert 0 < record.n <= 90
        assert record.low <= record.value <= record.high
        assert record.spec == "width:a=8"


@pytest.mark.parametrize("name", AUDITS.names())
def test_one_sample_and_one_class_are_no_reason_to_stop(name: str) -> None:
    for samples in (1, 5):
        made = Answers("", torch.randn(samples, 3, dtype=torch.float64), torch.ones(samples, dtype=torch.int64), NAMES)
        assert all(0 < record.n <= samples for record in audited(name, made).values())
