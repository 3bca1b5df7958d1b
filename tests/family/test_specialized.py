"""A family for some classes made with data of them: candidates are compared, and the measured best is kept."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.family.subjects import digits
from torch import nn

import concertina as ct
from concertina.cli import main
from concertina.errors import DataError, InputError, UnknownNameError
from concertina.family import Family
from concertina.family.class_choice import AS_IT_WAS, GENERAL, OWN, choice
from concertina.family.class_order import in_own_order
from concertina.family.subset import family_for
from concertina.load.data import ArrayData

KEPT = ("8", "3")


@cache
def whole() -> Family:
    core = ct.load("zoo:mlp")
    return ct.fit(core, digits(), digits("validation"), points=(0.2, 0.5), epochs=0, class_scores=True)


@cache
def bare() -> Family:
    return ct.fit(ct.load("zoo:mlp"), digits(), points=(0.2,), epochs=0)


@cache
def adapted(**options: Any) -> Family:
    return whole().for_classes(KEPT, data=digits("train", 600), held=digits("validation"), **options)


@pytest.mark.parametrize("options", [{}, {"epochs": 1.0, "batch_size": 16}, {"scores": "stored"}], ids=str)
def test_what_is_taken_is_told_with_its_figures(options: dict[str, Any]) -> None:
    made = adapted(**options)
    told = made.evidence.provenance
    assert told["for the classes"] in (AS_IT_WAS, GENERAL, OWN)
    assert "points of accuracy on" in told["own order minus the other"]
    assert "points of accuracy on" in told["adapted minus as it was"]
    assert made.core.class_names == KEPT
    assert [point.name for point in made.points] == [point.name for point in whole().points]
    assert all(a.macs <= b.macs for a, b in zip(made.points, whole().for_classes(KEPT).points, strict=True))
    differences = [record for record in made.records if record.metric == "own_order_minus_general"]
    assert [record.spec for record in differences] == [point.spec.text for point in made.points[:-1]]
    assert all(record.low is not None and record.low <= record.value for record in differences)
    assert all("accuracy" in dict(point.metrics) for point in made.points)


def test_no_candidate_is_worse_than_the_cut_family_on_what_was_chosen_on() -> None:
    held = digits("validation").for_classes(KEPT)
    plain = whole().for_classes(KEPT)
    plain.measure(held)
    before, after = ([dict(point.metrics)["accuracy"] for point in one.points[:-1]] for one in (plain, adapted()))
    assert sum(after) >= sum(before)


def planted() -> tuple[ct.Core, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Return a network in which each class has two hidden units of its own, those of the first classes larger."""
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        for layer in (network[0], network[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        for unit in range(8):
            network[0].weight[unit, unit // 2] = 1.0
            network[2].weight[unit // 2, unit] = 3.0 - 0.5 * (unit // 2)
    labels = torch.arange(256) % 4
    inputs = nn.functional.one_hot(labels, 4) + 0.3 * torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    return ct.load(network, torch.randn(2, 4), class_names=list("abcd")), [(inputs, labels)]


def test_where_the_general_order_lacks_what_classes_need_their_own_is_taken(tmp_path: Path) -> None:
    """The general half keeps the units of the first two classes; the last two have nothing in common with these."""
    core, data = planted()
    made = ct.fit(core, data, points=(0.5,), epochs=0, criterion="magnitude-l2")
    some = made.for_classes(["c", "d"], data=data)
    assert some.evidence.provenance["for the classes"] == OWN
    (name,) = some.supernet.permutations
    assert sorted(some.supernet.permutations[name][:4].tolist()) == [4, 5, 6, 7]
    inputs = data[0][0]
    torch.testing.assert_close(some.at(1.0)(inputs), core.module(inputs)[:, [2, 3]])
    some.save(tmp_path / "some.concertina")
    again = ct.open(tmp_path / "some.concertina", module=core.module)
    assert torch.equal(again.at(0.5)(inputs), some.at(0.5)(inputs))
    assert made.core.class_names == tuple("abcd")


@pytest.mark.parametrize(("activation", "criterion"), [(nn.ReLU(), "relevance"), (nn.Softsign(), "hessian")])
def test_units_are_rated_by_relevance_where_it_passes(activation: nn.Module, criterion: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), activation, nn.Linear(8, 4))
    core = ct.load(network, torch.randn(2, 4), class_names=list("abcd"))
    data = planted()[1]
    some = ct.fit(core, data, points=(0.5,), epochs=0).for_classes(["a", "b"], data=data)
    assert f"(by {criterion})" in some.evidence.provenance["own order minus the other"]


@pytest.mark.parametrize("other", [False, True])
def test_an_own_order_changes_no_answer_of_the_full_point(other: bool) -> None:
    cut, _ = family_for(whole(), KEPT, other=other)
    scores = whole().class_scores
    assert scores is not None
    own = in_own_order(whole().core, cut, scores.of(KEPT))
    inputs = digits("validation").inputs[:32]
    torch.testing.assert_close(own.at_point("p100")(inputs), cut.at_point("p100")(inputs), rtol=1e-4, atol=1e-4)
    assert own.order.steps != cut.order.steps or any(
        not torch.equal(order, cut.permutations[name]) for name, order in own.permutations.items()
    )


def test_only_a_certain_gain_takes_the_channels_away() -> None:
    def right(*shares: float) -> dict[str, torch.Tensor]:
        return {f"p{i}": torch.arange(100) < 100 * share for i, share in enumerate(shares)}

    low, high = right(0.5, 0.5), right(0.6, 0.6)
    assert choice({AS_IT_WAS: low, GENERAL: low, OWN: high}).name == OWN
    assert choice({AS_IT_WAS: low, GENERAL: high, OWN: high}).name == GENERAL
    assert choice({AS_IT_WAS: low, GENERAL: low, OWN: right(0.51, 0.5)}).name == AS_IT_WAS
    assert choice({AS_IT_WAS: high, GENERAL: low, OWN: right(0.65, 0.6)}).own.value == pytest.approx(0.025)
    assert choice({AS_IT_WAS: low, GENERAL: high}, {GENERAL: high, OWN: low}).name == GENERAL


def test_an_order_certain_to_be_behind_is_not_trained() -> None:
    """One that was trained with its points is ahead of a fresh one; the text says that this was left as it was."""
    made = ct.fit(ct.load("zoo:mlp"), digits("train", 1000), points=(0.1, 0.2), epochs=4, batch_size=32)
    some = made.for_classes(KEPT, data=digits("train", 1000), epochs=0.5, criterion="taylor")
    told = some.evidence.provenance
    assert told["for the classes"] != OWN
    assert "with statistics alone, and so not trained" in told["own order minus the other"]


def test_others_keep_an_output(tmp_path: Path) -> None:
    made = whole().for_classes(["4"], other=True, data=digits("train", 600), epochs=0.5, batch_size=16)
    assert made.core.class_names == ("4", "other")
    made.save(tmp_path / "four.concertina")
    inputs = digits("validation").inputs[:8]
    assert torch.equal(ct.open(tmp_path / "four.concertina").at(0.5)(inputs), made.at(0.5)(inputs))


def test_data_may_be_labelled_by_the_classes_chosen_in_any_order() -> None:
    data = digits("train", 600)
    one = whole().for_classes(KEPT, data=data.for_classes(KEPT))
    turned = data.for_classes(("3", "8", "other")).subset(range(100))
    pair = ArrayData(data.for_classes(KEPT).tensors, KEPT)
    other_way = ArrayData([pair.inputs, 1 - pair.labels], KEPT[::-1])
    two = whole().for_classes(KEPT, data=other_way)
    assert [p.metrics for p in one.points] == [p.metrics for p in two.points]
    with pytest.raises(DataError, match="classes of the data: got 3, 8, other; allowed: those of the family"):
        whole().for_classes(KEPT, data=turned)


def test_what_it_saw_is_remembered() -> None:
    made = adapted(epochs=1.0, batch_size=16)
    assert made.evidence.provenance["for the classes"] != AS_IT_WAS
    with pytest.raises(DataError, match="this is what the family was trained on"):
        made.promise({"3": 0.2}, digits("train", 600).for_classes(KEPT))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epochs": -1.0}, InputError, "option epochs: got -1"),
        ({"epoch": 1}, InputError, "unknown option: got 'epoch'.* Did you mean 'epochs'"),
        ({"scores": "guessed"}, InputError, "option scores: got 'guessed'; allowed: measured, stored"),
        ({"scores": "stored", "criterion": "taylor"}, InputError, "option criterion: got with stored scores"),
        ({"criterion": "magnitude-l2"}, InputError, "'magnitude-l2', which reads no data"),
        ({"criterion": "tailor"}, UnknownNameError, "tailor"),
    ],
)
def test_odd_options_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        whole().for_classes(KEPT, data=digits(), **options)


def test_odd_data_is_refused() -> None:
    data = digits()
    without = data.subset([i for i, label in enumerate(data.labels.tolist()) if label != 3])
    with pytest.raises(DataError, match="classes without samples: 3: got 8 "):
        whole().for_classes(KEPT, data=without)
    with pytest.raises(DataError, match="held-out data: got the data itself"):
        whole().for_classes(KEPT, data=data, held=data)
    alien = ArrayData(data.tensors, [f"class {i}" for i in range(10)])
    with pytest.raises(DataError, match=r"classes of the data: got class 0.*; allowed: those of the family"):
        whole().for_classes(KEPT, data=alien)
    few = torch.cat([(data.labels == 3).nonzero()[:1, 0], (data.labels == 8).nonzero()[:5, 0]])
    with pytest.raises(DataError, match="samples to hold some out of: got 1 of '3'"):
        whole().for_classes(KEPT, data=data.subset(few))
    with pytest.raises(InputError, match="option epochs: got without data"):
        whole().for_classes(KEPT, epochs=1)
    with pytest.raises(InputError, match=r"scores by class: got a family without.* Fit it with class_scores=True"):
        bare().for_classes(KEPT, data=data, scores="stored")


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole().save(tmp_path / "mlp.concertina")
    made = tmp_path / "two.concertina"
    words = ["specialize", str(tmp_path / "mlp.concertina"), "-o", str(made), "--classes", "8,3", "--json"]
    data = ["--data", "zoo:digits@train", "--held", "zoo:digits@validation"]
    assert main([*words, *data, "--scores", "stored", "--epochs", "0.5"]) == 0
    captured = capsys.readouterr()
    assert "own order minus the other" in captured.err
    found = json.loads(captured.out)
    assert found["made with for the classes"] in (AS_IT_WAS, GENERAL, OWN)
    assert all(point["accuracy"] > 0.4 for point in found["points"])
    assert main(["report", str(made), "-o", str(tmp_path / "report.html")]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs", "1"], "--epochs: got without --data; allowed: together with it"),
        (["--held", "zoo:digits@test"], "--held: got without --data"),
        (["--data", "zoo:digits@train", "--epochs", "-1"], "--epochs: got -1"),
        (["--data", "zoo:digits@train", "--scores", "all"], "--scores: got 'all'; allowed: measured, stored"),
        (["--data", "zoo:digits@train", "--scores", "stored"], "scores by class: got a family without"),
        (["--data", "zoo:digits@train", "--classes", "3,eigth"], "classes: got 'eigth'; allowed: 0, 1,"),
        (["--data", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_mistakes_on_the_command_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare().save(tmp_path / "mlp.concertina")
    classes = [] if "--classes" in words else ["--classes", "8,3"]
    line = ["specialize", str(tmp_path / "mlp.concertina"), "-o", str(tmp_path / "two"), *classes, *words]
    assert main(line) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("error: ") == 1
    assert not (tmp_path / "two").exists()


def npz(path: Path, labels: list[int], names: list[str]) -> str:
    raw = digits("train", 600)
    numbers = [raw.class_names.index(name) if name in raw.class_names else 0 for name in names]
    rows = [int(i) for label in labels for i in (raw.labels == numbers[label]).nonzero()[:20, 0]]
    kept = [label for label in labels for _ in range(20)]
    images = torch.rand(len(rows), 8, 8).mul(255).to(torch.uint8).numpy()
    np.savez(path, images=images, labels=np.array(kept), class_names=np.array(names))
    return str(path)


def test_files_are_labelled_by_all_classes_or_by_those_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare().save(tmp_path / "mlp.concertina")
    made = str(tmp_path / "two.concertina")
    words = ["specialize", str(tmp_path / "mlp.concertina"), "-o", made, "--yes", "--classes", "8,3", "--data"]
    assert main([*words, npz(tmp_path / "turned.npz", [0, 1], ["3", "8"])]) == 0
    assert main([*words, npz(tmp_path / "all.npz", list(range(10)), list("0123456789"))]) == 0
    capsys.readouterr()
    assert main([*words, npz(tmp_path / "alien.npz", [0, 1], ["cat", "dog"])]) == 2
    assert "differ from the network's: got cat, dog; allowed: 0, 1, 2" in capsys.readouterr().err
    assert main([*words, npz(tmp_path / "lacking.npz", [0], ["3", "8"])]) == 2
    assert capsys.readouterr().err.count("error: ") == 1
