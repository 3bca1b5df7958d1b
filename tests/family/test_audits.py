"""Audits and promises of a family: kept with it, refused where they would say nothing, and usable after opening."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import concertina as ct
from concertina.errors import BoundError, ConcertinaError, DataError, InputError, PointError, UnknownNameError
from concertina.family import Evidence
from concertina.family.continued import facts_before
from concertina.family.held_out import held_out
from concertina.load.data import ArrayData
from concertina.measure.promise import curve_of
from concertina.objective import Similarity
from concertina.report import card, report_data


@cache
def digits(part: str = "test", count: int = 0) -> ArrayData:
    data = ct.open_data(f"zoo:digits@{part}", preprocess=ct.load("zoo:mlp").preprocess)
    return data.subset(range(count)) if count else data


@cache
def made() -> ct.Family:
    return ct.fit(ct.load("zoo:mlp"), digits("train"), points=(0.25, 0.5), epochs=0, criterion="magnitude-l1")


@pytest.fixture
def family() -> ct.Family:
    """Return a family of its own with the points p25, p50 and p100; p100 is the core."""
    held = made()
    return ct.Family(held.core, copy.deepcopy(held.supernet), graph=held.graph, evidence=held.evidence)


def test_promises_are_kept_in_the_file_and_decide_after_it_is_opened(family: ct.Family, tmp_path: Path) -> None:
    data = digits("test")
    given = family.promise({"3": 0.3, "8": 0.4}, data, points=("p100", "p50"))
    assert [(one.point, one.class_name) for one in given] == [("p50", "3"), ("p50", "8"), ("p100", "3"), ("p100", "8")]
    assert {one.statements for one in given} == {4}
    family.save(tmp_path / "family.concertina")
    again = ct.open(tmp_path / "family.concertina")
    assert again.promises == given
    assert again.promises[0].data == data.fingerprint
    missed, alarms = zip(*curve_of(again.records, again.promises[0]), strict=True)
    assert (missed[0], missed[-1]) == (0.0, 0.3)
    assert all(later <= earlier for earlier, later in pairwise(alarms))
    assert again.evidence.provenance[f"data {data.fingerprint[:12]}"]
    with torch.no_grad():
        logits = again.at(0.5)(data.inputs)
    found = again.promises.decide(logits, "p50")
    assert set(found) == {"3", "8"}
    own = data.labels == 3
    assert 1 - float(found["3"][own].float().mean()) == pytest.approx(given[0].false_negative_rate.value)
    assert torch.equal(found["3"], logits.double().softmax(1)[:, 3] >= again.promises.at("p50")["3"].threshold)


def test_a_later_promise_takes_the_place_of_an_earlier_one(family: ct.Family) -> None:
    for bound in (0.4, 0.3):
        family.promise({"3": bound}, digits("test"), points=("p100",))
    family.promise({"3": 0.2}, digits("validation"), points=("p100",), method="conformal")
    (only,) = family.promises
    assert (only.bound, only.confidence) == (0.2, 0.0)
    assert "on average" in repr(family.promises)


def test_a_floor_that_no_point_reaches_refuses_and_keeps_nothing(family: ct.Family) -> None:
    before = family.records
    with pytest.raises(BoundError, match=r"no promise can be given: got class '8' at 'p\d+': precision 0\.\d+ under"):
        family.promise({"8": 0.2}, digits("test"), points=("p25",), min_precision=1.0)
    assert family.records == before
    assert BoundError.exit_code == 1


def test_a_floor_that_some_points_miss_refuses_those(family: ct.Family, caplog: pytest.LogCaptureFixture) -> None:
    data = digits("test")
    rates = {one.point: one.precision.value for one in family.promise({"8": 0.4}, data)}
    floor = (min(rates.values()) + max(rates.values())) / 2
    with caplog.at_level(logging.WARNING, logger="concertina"):
        given = ct.Family(family.core, family.supernet, evidence=Evidence()).promise(
            {"8": 0.4}, data, min_precision={"8": floor}
        )
    refused = {one.point for one in given if one.refused}
    assert refused == {point for point, rate in rates.items() if rate < floor}
    assert f"nothing is promised of class '8' at {min(refused)!r}" in caplog.text
    assert not set(given.at(min(refused)))


@pytest.mark.parametrize(
    ("bounds", "options", "error", "words"),
    [
        ({"3": 0.01}, {}, DataError, r"got 37; allowed: \d+ or more. Give more data"),
        (
            {"3": 0},
            {},
            InputError,
            "bound of class '3': got 0; allowed: a share above 0 and below 1. No data can prove",
        ),
        ({"3": 1.0}, {}, InputError, "above 0 and below 1"),
        ({}, {}, InputError, "class name -> rate"),
        ({"33": 0.2}, {}, UnknownNameError, "unknown class in bounds of a promise: got '33'.*Did you mean '3'"),
        ({3: 0.2}, {}, UnknownNameError, "unknown class in bounds of a promise: got 3"),
        ({"3": 0.4}, {"min_precision": {"4": 0.2}}, InputError, "min_precision: got '4'; allowed: 3"),
        ({"3": 0.4}, {"min_precision": 2}, InputError, "min_precision of class '3': got 2"),
        ({"3": 0.4}, {"method": "binomal"}, UnknownNameError, "Did you mean 'binomial'"),
        ({"3": 0.4}, {"points": ("p101",)}, PointError, "unknown operating point: got 'p101'"),
    ],
)
def test_what_cannot_be_promised_is_refused_in_words(
    family: ct.Family, bounds: dict, options: dict, error: type[ConcertinaError], words: str
) -> None:
    with pytest.raises(error, match=words):
        family.promise(bounds, digits("test"), **options)
    assert not family.promises


def test_a_class_without_samples_or_without_others_is_refused(family: ct.Family) -> None:
    data = digits("test")
    with pytest.raises(DataError, match=r"samples of class '3', for at most 0.4 .*: got 0; allowed"):
        family.promise({"3": 0.4}, data.subset((data.labels != 3).nonzero()[:, 0]))
    with pytest.raises(DataError, match="all samples are of class '3'"):
        family.promise({"3": 0.4}, data.subset((data.labels == 3).nonzero()[:, 0]), points=("p100",))


def test_training_data_is_refused_by_its_fingerprint_and_its_name_is_noticed(
    family: ct.Family, caplog: pytest.LogCaptureFixture
) -> None:
    train = digits("train")
    for ask in (family.audit, lambda data: family.promise({"3": 0.4}, data)):
        with pytest.raises(DataError, match="this is what the family was trained on"):
            ask(train)
    with caplog.at_level(logging.WARNING, logger="concertina"):
        held_out(family, train.subset(range(200)))
    assert "called like the training data" in caplog.text


def test_what_was_trained_on_before_going_on_is_still_known(family: ct.Family) -> None:
    facts = facts_before({"training data": "b; fingerprint 22", "training data before": "a; fingerprint 11"})
    assert facts["training data before"] == "a; fingerprint 11 | b; fingerprint 22"
    data = digits("test", 100)
    told = {"training data before": f"x; fingerprint {data.fingerprint}"}
    family.evidence = Evidence(provenance=told)
    with pytest.raises(DataError, match="trained on"):
        family.audit(data)


def test_labels_of_other_classes_are_refused(family: ct.Family) -> None:
    data = digits("test", 100)
    strange = ArrayData(data.tensors, [f"digit {name}" for name in data.class_names])
    with pytest.raises(DataError, match="class names of the data differ from the family's: got digit 0"):
        family.audit(strange)


def test_a_family_that_is_no_classifier_is_refused(family: ct.Family) -> None:
    family.task = Similarity()
    for ask in (family.audit, lambda data: family.promise({"3": 0.4}, data)):
        with pytest.raises(InputError, match="got a family for similarity; allowed: classification"):
            ask(digits())


def test_audits_are_kept_and_checked_against_bounds(family: ct.Family, tmp_path: Path) -> None:
    data = digits("test")
    found = family.audit(data, bounds=("recall[3]>=0.0", "worst_class_recall>=0.999", "ece<=0.9"))
    assert found.reference == "full"
    assert [(one.bound, one.met) for one in found.checked if one.point == "p25"] == [
        ("recall[3]>=0", True),
        ("worst_class_recall>=0.999", False),
        ("ece<=0.9", True),
    ]
    assert {one.bound for one in found.unmet} == {"worst_class_recall>=0.999"}
    assert {record.data for record in found.records} == {data.fingerprint}
    family.save(tmp_path / "family.concertina")
    again = ct.open(tmp_path / "family.concertina")
    assert set(found.records) <= set(again.records)
    assert "calibration of its confidences" not in card(report_data(again, "x")).partition("What was not measured")[2]


def test_the_core_is_the_reference_where_it_is_given_and_later_where_it_is_known(family: ct.Family) -> None:
    data, core = digits("test"), ct.load("zoo:mlp")
    given = family.audit(data, audits=("churn", "recall"), points=("p50",), core=core)
    assert given.reference == "core"
    of_core = {record.metric for record in given.records if record.spec == "core"}
    assert of_core == {"accuracy", "recall", "worst_class_recall"}
    known = family.audit(data, audits=("churn",), points=("p50",), bounds=("churn<=1",))
    assert known.reference == "core"
    assert known.checked[0].record in given.records
    assert family.audit(digits("validation", 200), audits=("churn",)).reference == "full"


def test_measuring_after_an_audit_of_the_core_compares_with_the_same_answers(family: ct.Family) -> None:
    data, core = digits("test"), ct.load("zoo:mlp")
    audited = family.audit(data, audits=("churn",), points=("p50",), core=core).records
    measured = family.measure(data, points=("p50",))
    assert [r.value for r in measured if r.metric == "churn"] == [r.value for r in audited if r.metric == "churn"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"audits": ("recal",)}, UnknownNameError, "unknown audit: got 'recal'.*Did you mean 'recall'"),
        ({"bounds": ("recall[33]>=0.5",)}, UnknownNameError, "unknown class in a bound: got '33'"),
        ({"bounds": ("recall>=0.5",)}, InputError, r"allowed: recall\[CLASS\]"),
        ({"bounds": ("ece[3]<=0.5",)}, InputError, "allowed: ece with a limit"),
        ({"bounds": ("confused[cat]<=0.1",)}, InputError, "Bound the recall instead"),
        ({"bounds": ("ece=0.5",)}, InputError, "METRIC>=NUMBER"),
        ({"bounds": ("ece<=nan",)}, InputError, "METRIC>=NUMBER"),
        ({"bounds": ("ace<=0.5",)}, UnknownNameError, "unknown figure in a bound"),
        ({"bounds": ("ece<=0.5",), "audits": ("recall",)}, UnknownNameError, "unknown figure in a bound"),
        ({"bounds": ("churn<=0.5",)}, InputError, "the core's answers to this data, which are not known"),
        ({"points": ("p101",)}, PointError, "unknown operating point"),
        ({"core": "another"}, InputError, "got another network"),
    ],
)
def test_wrong_wishes_of_an_audit_are_refused(
    family: ct.Family, options: dict, error: type[ConcertinaError], words: str
) -> None:
    if options.get("core"):
        options = {"core": replace(ct.load("zoo:mlp"), fingerprint="f" * 64)}
    with pytest.raises(error, match=words):
        family.audit(digits("test", 200), **options)


def test_deciding_without_a_promise_says_what_to_do(family: ct.Family) -> None:
    with pytest.raises(InputError, match="none is there yet"):
        family.promises.decide(torch.zeros(1, 10), "p50")
    assert repr(family.promises) == "no promises"


def test_other_figures_do_not_become_the_headline(family: ct.Family) -> None:
    data = digits("test")
    family.audit(data)
    family.promise({"3": 0.4}, data)
    family.measure(data)
    assert report_data(family, "x").figures.metric == "accuracy"
