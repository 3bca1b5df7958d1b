"""`fit` shows the core beside its points, and says when the full point has lost against it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from concertina.cli import main

DATA = ["--data", "zoo:digits@validation", "--criterion", "magnitude-l1", "--points", "0.5,1"]


def test_the_core_stands_beside_the_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "zoo:mlp", *DATA, "--epochs", "0", "--validation", "zoo:digits@test"]
    assert main([*command, "-o", str(tmp_path / "a.concertina")]) == 0
    *_, full, core = capsys.readouterr().out.splitlines()
    assert full.split()[0] == "p100"
    assert core.split()[0] == "core"
    assert core.split()[5] == full.split()[5]
    assert main([*command, "--json", "-o", str(tmp_path / "b.concertina")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["core figures"]["accuracy"] > 0.9
    assert told["warnings"] == []


def test_a_full_point_below_the_core_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "zoo:mlp", *DATA, "--epochs", "1", "--learning-rate", "0.9", "--batch-size", "16"]
    assert main([*command, "--validation", "zoo:digits@test", "--json", "-o", str(tmp_path / "a.concertina")]) == 0
    out, err = capsys.readouterr()
    assert "'p100' has lost against the core" in json.loads(out)["warnings"][0]
    assert "'p100' has lost against the core" in err


def test_without_validation_there_is_no_core_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "zoo:mlp", *DATA, "--epochs", "0", "-o", str(tmp_path / "a.concertina")]) == 0
    assert "core" not in capsys.readouterr().out
