"""A family for some of its classes: the same answers among them, in memory, in a file and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.family.subjects import digits, family
from torch import Tensor, nn

import concertina as ct
from concertina.cli import main
from concertina.errors import AnalysisError, DataError, InputError
from concertina.measure.cost import CostModel
from concertina.types import Space

KEPT = ("8", "3", "5")
PLACES = [8, 3, 5]


def images() -> Tensor:
    return digits("validation").inputs[:64]


def test_every_point_answers_as_before_among_the_classes_kept() -> None:
    some = family().for_classes(KEPT)
    assert some.core.class_names == KEPT
    assert [(p.name, p.spec) for p in some.points] == [(p.name, p.spec) for p in family().points]
    for point in family().points:
        wanted = family().at(point=point.name)(images())[:, PLACES]
        torch.testing.assert_close(some.at(point=point.name)(images()), wanted, rtol=1e-4, atol=1e-4)


def test_the_other_output_has_the_probability_of_all_others() -> None:
    some = family().for_classes(["4"], other=True)
    assert some.core.class_names == ("4", "other")
    for point in family().points:
        whole = family().at(point=point.name)(images()).softmax(1)
        ours = some.at(point=point.name)(images()).softmax(1)
        torch.testing.assert_close(ours[:, 0], whole[:, 4], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.sum(1), torch.ones(len(ours)))


@pytest.mark.parametrize("other", [False, True])
def test_costs_are_those_of_the_networks(other: bool) -> None:
    some = family().for_classes(KEPT, other=other)
    for point in some.points:
        module = some.at(point=point.name)
        assert point.macs == CostModel.of(module, some.core.example_inputs, Space(())).full()
        assert point.params == sum(p.numel() for p in module.parameters())
    gone = [b.macs - a.macs for a, b in zip(some.points, family().points, strict=True)]
    assert all(macs == 0 if other else macs > 0 for macs in gone)


@pytest.mark.parametrize("other", [False, True])
def test_a_file_gives_it_back(tmp_path: Path, other: bool) -> None:
    some = family().for_classes(KEPT, other=other)
    some.save(tmp_path / "some.concertina")
    again = ct.open(tmp_path / "some.concertina")
    assert again.core.class_names == some.core.class_names
    assert again.core.all_classes == family().core.class_names
    for point in some.points:
        assert torch.equal(again.at(point=point.name)(images()), some.at(point=point.name)(images()))
    part = ct.open(tmp_path / "some.concertina", upto="p20")
    assert torch.equal(part.at(point="p20")(images()), some.at(point="p20")(images()))


def test_the_family_given_is_not_touched() -> None:
    before = family().at(1.0)(images())
    some = family().for_classes(KEPT)
    some.measure(digits("validation").for_classes(KEPT))
    assert torch.equal(family().at(1.0)(images()), before)
    assert family().core.class_names == tuple("0123456789")
    assert some.evidence.provenance["classes"] == "8, 3, 5 (of 10)"


def test_measured_figures_are_those_of_masked_answers() -> None:
    held = digits("validation").for_classes(KEPT)
    some = family().for_classes(KEPT)
    some.measure(held)
    for point in some.points:
        answers = family().at(point=point.name)(held.inputs)[:, PLACES].argmax(1)
        wanted = float((answers == held.labels).float().mean())
        assert dict(point.metrics)["accuracy"] == pytest.approx(wanted)


def test_data_of_some_classes_is_numbered_anew() -> None:
    whole = digits("validation")
    some, rest = whole.for_classes(KEPT), whole.for_classes(["4", "other"])
    assert some.counts == {name: whole.counts[name] for name in KEPT}
    assert rest.counts == {"4": whole.counts["4"], "other": len(whole) - whole.counts["4"]}
    preprocess = ct.load("zoo:digits-cnn").preprocess
    opened = ct.open_data("zoo:digits@validation", preprocess=preprocess, class_names=KEPT)
    assert set(opened.counts) == set(KEPT)
    with pytest.raises(DataError, match="classes of the data: got cat, 3"):
        whole.for_classes(["cat", "3"])


@pytest.mark.parametrize(
    ("classes", "options", "words"),
    [
        (["thre", "3"], {}, "classes: got 'thre'; allowed: 0, 1,"),
        (["3", "3"], {}, "classes: got '3' twice"),
        (["3"], {}, "classes: got 1 of 10; allowed: 2 to 9"),
        ([], {"other": True}, "classes: got 0 of 10; allowed: 1 to 9"),
        (list("0123456789"), {}, "got 10 of 10"),
        ("358", {}, "classes: got '358'; allowed: a list of class names"),
        ([3, 5], {}, "a list of class names"),
    ],
)
def test_odd_classes_are_refused(classes: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        family().for_classes(classes, **options)


def test_the_whole_core_is_no_reference_for_some_of_its_classes() -> None:
    some, held = family().for_classes(KEPT), digits("validation").for_classes(KEPT)
    for ask in (some.measure, some.audit):
        with pytest.raises(InputError, match="classes of the core to compare with: got 0, 1, 2"):
            ask(held, core=ct.load("zoo:digits-cnn"))


def test_some_classes_of_the_training_data_promise_nothing() -> None:
    some = family().for_classes(KEPT)
    with pytest.raises(DataError, match="this is what the family was trained on"):
        some.promise({"3": 0.2}, digits().for_classes(KEPT))
    assert some.promise({"3": 0.2}, digits("validation").for_classes(KEPT), points=["p100"])


def test_classes_are_cut_once() -> None:
    with pytest.raises(InputError, match="cut to classes before"):
        family().for_classes(KEPT).for_classes(["3", "5"])


def test_a_network_whose_outputs_no_layer_makes_is_refused() -> None:
    class Normed(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).softmax(1)

    torch.manual_seed(0)
    core = ct.load(Normed(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(2, 6), class_names=list("abcd"))
    made = ct.fit(core, [(torch.randn(16, 6), torch.arange(16) % 4)], points=(0.5,), epochs=0)
    with pytest.raises(AnalysisError, match="the layer that makes this network's classes was not found"):
        made.for_classes(["a", "b"])


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    family().save(tmp_path / "digits.concertina")
    made = tmp_path / "three.concertina"
    words = ["specialize", str(tmp_path / "digits.concertina"), "-o", str(made), "--classes"]
    assert main([*words, "3,x"]) == 2
    assert "classes: got 'x'; allowed: 0, 1" in capsys.readouterr().err
    assert main([*words, ","]) == 2
    assert not made.exists()
    assert main([*words, "8,3,5", "--keep-other", "--json"]) == 0
    assert [point["point"] for point in json.loads(capsys.readouterr().out)["points"]] == ["p5", "p20", "p60", "p100"]
    assert main(["measure", str(made), "--data", "zoo:digits@validation", "--points", "p60", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    (accuracy,) = (row["value"] for row in rows if row["metric"] == "accuracy")
    assert accuracy > 0.8


def test_training_does_not_go_on_from_some_of_the_classes() -> None:
    with pytest.raises(InputError, match="other classes"):
        ct.fit(ct.load("zoo:digits-cnn"), digits(), start=family().for_classes(KEPT), epochs=1)
