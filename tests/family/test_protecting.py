"""Classes that count more: weights in training, balanced samples, and promises that `fit` gives at its end."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import concertina as ct
from concertina.errors import ConcertinaError, DataError, InputError, UnknownNameError
from concertina.family.samples import balanced_sample
from concertina.load.data import ArrayData, TensorData

CORE = ct.load("zoo:digits-cnn")
QUICK: dict[str, Any] = {"points": (0.3,), "epochs": 0.2, "order": "criterion", "batch_size": 32}


def digits(part: str = "train", count: int | None = None) -> ArrayData:
    data = ct.open_data(f"zoo:digits@{part}", preprocess=CORE.preprocess, class_names=CORE.class_names)
    return data if count is None else data.subset(range(count))  # type: ignore[return-value]


def rare(label: int, count: int) -> ArrayData:
    """Digits of which one class has few samples."""
    data = digits()
    own = (data.labels == label).nonzero()[:count, 0]
    return data.subset(torch.cat([own, (data.labels != label).nonzero()[:, 0]]))


def test_a_class_of_more_weight_is_missed_less() -> None:
    """Compared by recall at the network's own decisions, after equal training at a small size."""
    held, recalls = digits("validation"), []
    for weight in (0.1, 8.0):
        family = ct.fit(CORE, digits(), held, class_weights={"8": weight}, **QUICK)
        small = family.points[0].spec.text
        recalls += [r.value for r in family.records if (r.spec, r.metric, r.scope) == (small, "recall", "8")]
    assert recalls[1] > recalls[0] + 0.05


def test_equal_weights_are_none() -> None:
    """Weights are 1 on average over the data, so all classes weighed alike are classes not weighed."""
    plain, weighed = (
        ct.fit(CORE, digits(), **QUICK, **more) for more in ({}, {"class_weights": dict.fromkeys(CORE.class_names, 7)})
    )
    assert plain.points[0].spec == weighed.points[0].spec
    x = digits("validation").inputs[:64]
    with torch.no_grad():
        assert torch.allclose(plain.view("p30")(x), weighed.view("p30")(x), atol=1e-3)
    assert "class weights" in weighed.evidence.provenance
    assert "class weights" not in plain.evidence.provenance


def test_balanced_weights_give_each_class_an_equal_part() -> None:
    data = rare(3, 12)
    ready = ct.prepare(CORE, data, class_weights="balanced", **QUICK)
    parts = torch.tensor(ready.task.class_weights) * data.labels.bincount(minlength=10)
    assert torch.allclose(parts, torch.full((10,), len(data) / 10))


def test_a_balanced_sample_has_as_many_of_each_class_and_is_the_same_again() -> None:
    data = rare(3, 12)
    one, again, other = (balanced_sample(data, 1024, seed) for seed in (0, 0, 1))
    assert one.tensors[1].bincount().tolist() == [12] * 10
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert balanced_sample(data, 40, 0).tensors[1].bincount().tolist() == [4] * 10
    with pytest.raises(DataError, match="class numbers"):
        balanced_sample(TensorData((torch.zeros(4, 1), torch.zeros(4))), 4, 0)


def test_balanced_criteria_and_statistics_differ_from_those_of_the_data_as_it_is() -> None:
    data = rare(3, 12)
    plain, balanced = (ct.fit(CORE, data, criterion="beta-rank", balanced=b, **QUICK) for b in (False, True))
    tensors = [family.view("p30").state_dict() for family in (plain, balanced)]
    assert any(not torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0] if key.endswith("running_mean"))


def test_fit_keeps_the_promise_it_was_asked_for_at_every_point() -> None:
    family = ct.fit(CORE, digits(), digits("validation"), protect={"8": 0.25}, **QUICK)
    assert [(p.point, p.class_name, p.bound) for p in family.promises] == [("p30", "8", 0.25), ("p100", "8", 0.25)]
    assert all(p.false_negative_rate.value <= 0.25 for p in family.promises)
    assert float(family.evidence.provenance["class weights"].split("8 ")[-1].split(",")[0]) > 1


def test_training_that_goes_on_takes_new_weights(tmp_path: Any) -> None:
    ct.fit(CORE, digits(), **QUICK).save(tmp_path / "a.concertina")
    more = ct.fit(CORE, digits(), start=tmp_path / "a.concertina", epochs=0.1, class_weights={"3": 5})
    assert "3 " in more.evidence.provenance["class weights"]


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"protect": {"eigth": 0.1}}, UnknownNameError, "eigth"),
        ({"protect": {"8": 0.0}}, InputError, "No data can prove"),
        ({"protect": {"8": 1.5}}, InputError, "below 1"),
        ({"protect": ["8"]}, InputError, "class name -> rate"),
        ({"protect": {"8": 0.001}}, DataError, "or more"),
        ({"class_weights": {"12": 2.0}}, UnknownNameError, "12"),
        ({"class_weights": {"8": -1}}, InputError, "above 0"),
        ({"class_weights": {"8": float("nan")}}, InputError, "above 0"),
        ({"class_weights": "heavy"}, InputError, "balanced"),
        ({"balanced": 3}, InputError, "True or False"),
        ({"rehearsals": 0}, InputError, "1 to"),
        ({"rehearsals": 2, "order": "criterion"}, InputError, "rehearsed"),
        (
            {
                "class_weights": {"8": 2},
                "task": ct.objective.Classification(CORE.class_names, class_weights=[2.0] * 10),
            },
            InputError,
            "one of both",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    options: dict[str, Any], kind: type[ConcertinaError], says: str
) -> None:
    steps: list[str] = []
    with pytest.raises(kind, match=says):
        ct.fit(
            CORE,
            digits(count=256),
            digits("validation"),
            progress=lambda stage, _done: steps.append(stage),
            **{**QUICK, **options},
        )
    assert not any(stage.startswith("training") for stage in steps)


def test_a_bound_that_the_data_cannot_support_is_refused_before_anything_is_analysed() -> None:
    steps: list[str] = []
    with pytest.raises(DataError, match="or more"):
        ct.fit(
            CORE,
            digits(),
            digits("validation"),
            protect={"8": 0.001},
            progress=lambda stage, _done: steps.append(stage),
            **QUICK,
        )
    assert steps == []


def test_a_promise_needs_data_that_training_does_not_see() -> None:
    with pytest.raises(InputError, match="no validation data"):
        ct.fit(CORE, digits(), protect={"8": 0.1}, **QUICK)
    with pytest.raises(DataError, match="cannot rest on the training data"):
        ct.fit(CORE, digits(), digits(), protect={"8": 0.1}, **QUICK)
