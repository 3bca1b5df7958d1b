"""The classification task: loss, distillation, rows, figures and refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from concertina.errors import DataError, InputError, UnknownNameError
from concertina.objective import TASKS, Classification
from concertina.types import Preprocess, Record

LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 1.0, 0.5], [4.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 1, 2, 0])
BATCH = (torch.zeros(4, 2), LABELS)


def by_name(records: list[Record]) -> dict[tuple[str, str], Record]:
    return {(record.metric, record.scope): record for record in records}


def test_it_is_registered_and_judged_by_accuracy() -> None:
    assert TASKS.get("classification") is Classification
    task = Classification()
    assert (task.name, task.metric.name, task.metric.direction, task.metric.unit) == (
        "classification",
        "accuracy",
        "max",
        "share",
    )


def test_inputs_are_everything_but_the_labels() -> None:
    assert Classification().inputs(BATCH) == (BATCH[0],)
    assert len(Classification().inputs((BATCH[0], BATCH[0], LABELS))) == 2


def test_loss_is_cross_entropy_with_optional_smoothing() -> None:
    assert torch.equal(Classification().loss(LOGITS, BATCH), F.cross_entropy(LOGITS, LABELS))
    smooth = Classification(label_smoothing=0.3).loss(LOGITS, BATCH)
    uniform = -F.log_softmax(LOGITS, dim=1).mean()
    assert float(smooth) == pytest.approx(float(0.7 * F.cross_entropy(LOGITS, LABELS) + 0.3 * uniform))


def test_distillation_is_zero_at_the_teacher_and_leaves_it_alone() -> None:
    student, teacher = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    distance = Classification(temperature=4).distill(student, teacher, BATCH)
    assert float(distance.detach()) == pytest.approx(0, abs=1e-6)
    (Classification().distill(student, teacher + 1.0 * torch.randn(4, 3), BATCH)).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_figures_of_a_known_case() -> None:
    task = Classification(("a", "b", "c"))
    records = by_name(task.summarise(task.observe(LOGITS, BATCH)))
    assert records["accuracy", ""].value == 0.75
    assert records["accuracy", ""].n == 4
    assert {scope: r.value for (metric, scope), r in records.items() if metric == "recall"} == {"a": 1, "b": 1, "c": 0}
    assert (records["worst_class_recall", ""].value, records["worst_class_recall", ""].n) == (0.0, 1)
    assert records["loss", ""].value == pytest.approx(float(F.cross_entropy(LOGITS, LABELS)))
    assert all(r.low is not None and r.high is not None and r.low <= r.value <= r.high for r in records.values())
    assert {record.unit for record in records.values()} == {"share", "nats"}


def test_classes_without_names_are_numbered_and_those_without_samples_left_out() -> None:
    task = Classification()
    labels = torch.tensor([0, 2, 2, 0])
    records = by_name(task.summarise(task.observe(LOGITS, (BATCH[0], labels))))
    assert {scope for metric, scope in records if metric == "recall"} == {"0", "2"}


def test_rows_of_batches_joined_give_the_figures_of_the_whole() -> None:
    task = Classification(("a", "b", "c"))
    whole = task.observe(LOGITS, BATCH)
    parts = [task.observe(LOGITS[i : i + 2], (BATCH[0][i : i + 2], LABELS[i : i + 2])) for i in (0, 2)]
    joined = {name: torch.cat([part[name] for part in parts]) for name in whole}
    assert task.summarise(joined) == task.summarise(whole)


def test_one_sample_is_enough_to_evaluate() -> None:
    task = Classification(("a", "b", "c"))
    task.check((torch.zeros(1, 2), torch.tensor([1])))
    records = by_name(task.summarise(task.observe(LOGITS[:1], (BATCH[0][:1], LABELS[:1]))))
    assert records["accuracy", ""].value == 1.0
    with pytest.raises(DataError, match="evaluation without samples"):
        task.summarise({"correct": torch.zeros(0), "label": torch.zeros(0), "loss": torch.zeros(0)})


def test_augmentation_fills_in_black_and_changes_inputs_alone() -> None:
    task = Classification((), Preprocess(1 / 255, (0.5, 0.25), (0.5, 0.5)), augment="flip-crop")
    images = torch.full((16, 2, 6, 6), 9.0)
    augmented, labels = task.augment((images, torch.arange(16)), torch.Generator().manual_seed(0))
    assert set(augmented[:, 0].unique().tolist()) == {-1.0, 9.0}
    assert set(augmented[:, 1].unique().tolist()) == {-0.5, 9.0}
    assert torch.equal(labels, torch.arange(16))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((torch.zeros(2, 2),), "batch of a classification: got 1 parts"),
        ((torch.zeros(2, 2), torch.tensor([0, 3])), "labels out of range: got 3; allowed: 0 to 2"),
        ((torch.zeros(2, 2), torch.tensor([-1, 2])), "labels out of range: got -1"),
        ((torch.zeros(2, 2), torch.tensor([0.0, 1.0])), r"labels of a batch: got torch.float32 of shape \(2,\)"),
        ((torch.zeros(2, 2), torch.tensor([[0], [1]])), r"torch.int64 of shape \(2, 1\); allowed: torch.int64"),
        ((torch.zeros(3, 2), torch.tensor([0, 1])), "batch: got 3 inputs, 2 labels; allowed: as many"),
        ((torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)), "got 0 inputs, 0 labels; allowed: as many, 1 or more"),
        ((torch.tensor([[1.0, math.nan]]), torch.tensor([0])), "inputs of a batch hold NaN"),
    ],
)
def test_batches_that_cannot_be_used_are_named(batch: tuple[torch.Tensor, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Classification(("a", "b", "c")).check(batch)


def test_without_class_names_the_outputs_bound_the_labels() -> None:
    task = Classification()
    task.check((torch.zeros(2, 2), torch.tensor([0, 7])))
    for use in (task.loss, task.observe):
        with pytest.raises(DataError, match="labels out of range: got 7; allowed: 0 to 2"):
            use(LOGITS[:2], (torch.zeros(2, 2), torch.tensor([0, 7])))
    with pytest.raises(
        DataError, match=r"outputs of a classification: got shape \(2, 3, 1\); allowed: \(batch, classes\)"
    ):
        task.loss(LOGITS[:2, :, None], BATCH)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"temperature": 0.0}, InputError, "temperature of distillation: got 0.0; allowed: above 0"),
        ({"temperature": math.nan}, InputError, "temperature of distillation: got nan"),
        ({"label_smoothing": 1.0}, InputError, "label smoothing: got 1.0; allowed: 0 to below 1"),
        ({"augment": "flip"}, UnknownNameError, "unknown augmentation: got 'flip'.*Did you mean 'flip-crop'"),
        ({"distance": "kul"}, UnknownNameError, "unknown distance: got 'kul'.*Did you mean 'kl'"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Classification(**options)  # type: ignore[arg-type]


def test_weights_of_classes_weigh_samples_in_loss_and_distillation() -> None:
    """A sample of weight 3 counts as three samples: against batches in which it is there three times."""
    weighed, plain = Classification(("a", "b", "c"), class_weights=(3, 1, 1)), Classification(("a", "b", "c"))
    teacher = LOGITS.flip(1)
    rows = torch.tensor([0, 0, 0, 1, 2, 3, 3, 3])
    repeated = (BATCH[0][rows], LABELS[rows])
    for found, wanted in (
        (weighed.loss(LOGITS, BATCH), plain.loss(LOGITS[rows], repeated)),
        (weighed.distill(LOGITS, teacher, BATCH), plain.distill(LOGITS[rows], teacher[rows], repeated)),
    ):
        assert float(found * len(LABELS)) == pytest.approx(float(wanted * len(rows)))


@pytest.mark.parametrize("weights", [(1.0,), (1, 1, 0), (1, 1, float("nan"))])
def test_weights_that_are_none_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="class weights"):
        Classification(("a", "b", "c"), class_weights=weights)
