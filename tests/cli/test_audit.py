"""`concertina audit`: tables, what is kept, exit codes, and one clear message for everything that is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Files

import concertina as ct
from concertina.cli import main

Capsys = pytest.CaptureFixture[str]
TEST = ("--data", "zoo:digits@train")
"""Not what the families of the fixture were made from: that is the validation part."""


@pytest.fixture
def file(files: Files, tmp_path: Path) -> Path:
    """Return a family file to write to."""
    return Path(shutil.copy(files.zoo, tmp_path / "family.concertina"))


def test_audits_are_printed_point_by_point_and_kept_when_asked(file: Path, capsys: Capsys) -> None:
    before = file.read_bytes()
    assert main(["audit", str(file), *TEST, "--points", "p25,p100"]) == 0
    said = capsys.readouterr()
    assert "point p25\nclass  samples  recall" in said.out
    assert "calibration error" in said.out
    assert "most frequent confusions" in said.out
    assert " taken for " in said.out
    assert "give --save to keep this" in said.err
    assert file.read_bytes() == before
    assert main(["audit", str(file), *TEST, "--audits", "auc", "--save", "--quiet"]) == 0
    assert {record.metric for record in ct.open(file).records} >= {"auc", "macro_auc"}


def test_a_promise_is_kept_in_the_file(file: Path, capsys: Capsys) -> None:
    words = ["--protect", "3=0.15,8=0.3", "--min-precision", "8=0.01", "--points", "p50", "--save"]
    assert main(["audit", str(file), *TEST, *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["class_name"], one["bound"], one["statements"]) for one in told["promises"]] == [
        ("3", 0.15, 2),
        ("8", 0.3, 2),
    ]
    assert "records" not in told
    kept = ct.open(file).promises
    assert [one.threshold for one in kept] == [one["threshold"] for one in told["promises"]]
    assert {one.point for one in kept} == {"p50"}


def test_what_a_promise_is_worth_is_said_under_it(file: Path, capsys: Capsys) -> None:
    for method, words in (("binomial", "With 95% confidence all bounds"), ("conformal", "no statement with 95%")):
        assert main(["audit", str(file), *TEST, "--protect", "3=0.2", "--method", method, "--quiet"]) == 0
        assert words in capsys.readouterr().out


def test_bounds_that_are_not_met_leave_with_1(file: Path, capsys: Capsys) -> None:
    bounds = ["--bound", "worst_class_recall>=0.999", "--bound", "ece<=1", "--points", "p25"]
    assert main(["audit", str(file), *TEST, *bounds, "--audits", "recall,calibration", "--quiet"]) == 1
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[0] for line in lines] == ["worst_class_recall>=0.999", "ece<=1"]
    assert [line.endswith("NOT MET") for line in lines] == [True, False]
    assert main(["audit", str(file), *TEST, "--bound", "ece<=1", "--audits", "calibration", "--quiet"]) == 0


def test_a_promise_that_is_refused_leaves_with_1(file: Path, capsys: Capsys) -> None:
    words = ["--protect", "8=0.1", "--min-precision", "8=1", "--points", "p25"]
    assert main(["audit", str(file), *TEST, *words]) == 1
    assert "no promise can be given: got class '8' at 'p25'" in capsys.readouterr().err


def test_the_core_stands_beside_its_points(file: Path, capsys: Capsys) -> None:
    words = ["--core", "zoo:mlp", "--audits", "recall,churn", "--points", "p25", "--bound", "churn<=1", "--quiet"]
    assert main(["audit", str(file), *TEST, *words]) == 0
    said = capsys.readouterr().out
    assert "minus core" in said
    assert "\ncore\n" in said
    assert "core's answers to this data are not known" not in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--protect", "33=0.2"], "unknown class in --protect: got '33'"),
        (["--protect", "3=0"], "bound of class '3': got 0.0"),
        (["--protect", "3"], "--protect: got '3'; allowed: CLASS=NUMBER"),
        (["--protect", "3=0.1", "--protect", "3=0.2"], "--protect: got '3' twice"),
        (["--protect", "3=0.001"], "allowed: 4,093 or more"),
        (["--protect", "3=0.2", "--method", "binomal"], "Did you mean 'binomial'"),
        (["--min-precision", "3=0.2"], "--min-precision: got '3'; allowed: with --protect"),
        (["--bound", "recall[33]>=0.2"], "unknown class in a bound: got '33'"),
        (["--bound", "recall of 3"], "bound: got 'recall of 3'"),
        (["--bound", "churn<=0.1"], "needs the core's answers to this data"),
        (["--audits", "recal"], "Did you mean 'recall'"),
        (["--points", "p51"], "--points: got 'p51'"),
        (["--weights", "random"], "--weights: got without --core"),
        (["--core", "zoo:digits-cnn"], "core to compare with: got another network"),
        (["--upto", "p25", "--save"], "--save: got with --upto p25"),
        (["--data", "nowhere.npz"], "data 'nowhere.npz' is not there"),
        (["--data", "zoo:digits@validation"], "this is what the family was trained on"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(file: Path, capsys: Capsys, words: list[str], sentence: str) -> None:
    before = file.read_bytes()
    assert main(["audit", str(file), *TEST, "--quiet", *words]) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert (said.err.count("error:"), said.out) == (1, "")
    assert file.read_bytes() == before


def test_a_family_of_ones_own_network_is_shown_the_way(files: Files, capsys: Capsys) -> None:
    assert main(["audit", str(files.own), *TEST, "--protect", "3=0.2"]) == 2
    assert "family.promise({'3': 0.2}, data)" in capsys.readouterr().err


def test_fit_protects_classes_and_keeps_what_it_promises(tmp_path: Path, capsys: Capsys) -> None:
    file = tmp_path / "protected.concertina"
    data = ["--data", "zoo:digits@train", "--validation", "zoo:digits@validation"]
    words = ["--protect", "3=0.2", "--class-weights", "3=3,8=2", "--balanced", "--points", "0.5", "--epochs", "0.1"]
    assert main(["fit", "zoo:mlp", *data, *words, "-o", str(file), "--quiet"]) == 0
    family = ct.open(file)
    assert {(one.class_name, one.bound, one.point) for one in family.promises} == {
        ("3", 0.2, "p50"),
        ("3", 0.2, "p100"),
    }
    assert family.evidence.provenance["class weights"].startswith("0 0.7")
    said = capsys.readouterr().out
    assert said.index("threshold") > said.index("accuracy")
    assert "With 95% confidence all bounds" in said
