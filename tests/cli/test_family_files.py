"""Family files on the command line: whole, cut short, and made from a network of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Files
from torch import nn

import concertina as ct
from concertina.cli import main

Capsys = pytest.CaptureFixture[str]


def said(capsys: Capsys, *words: str) -> Any:
    capsys.readouterr()
    assert main([*words, "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: Capsys, *words: object) -> str:
    capsys.readouterr()
    assert main([*map(str, words), "--quiet"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("error: ")) == ("", 1)
    return captured.err


def test_a_family_of_an_own_network_is_inspected_and_reported_from_its_file(
    files: Files, tmp_path: Path, capsys: Capsys
) -> None:
    assert said(capsys, "inspect", str(files.own))["source"] == "module:Sequential"
    page = tmp_path / "own.html"
    assert main(["report", str(files.own), "-o", str(page), "--title", "Mine, all mine"]) == 0
    text = page.read_text(encoding="utf-8")
    assert all(words in text for words in ("Mine, all mine", "p25", "95% intervals", "module:Sequential"))


@pytest.mark.parametrize(
    ("words", "in_python"),
    [
        (["extract", "--share", "0.5", "-o", "out"], "family.extract('out', share=0.5)"),
        (["export", "--to", "onnx", "--macs", "9999", "-o", "a.onnx"], "to='onnx', macs=9999)"),
        (["export", "--to", "onnx", "--all-points", "-o", "all"], "family.export_all('all')"),
        (["measure", "--data", "zoo:digits@test"], "family.measure(data)"),
        (["measure", "--latency", "--threads", "1"], "family.measure_latency(batch=1, threads=1, runtime='eager')"),
    ],
)
def test_what_needs_the_network_itself_is_shown_in_python(
    words: list[str], in_python: str, files: Files, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = refused(capsys, words[0], files.own, *words[1:])
    assert f"ct.open('{files.own}', module=YourNetwork())" in text
    assert in_python in text
    assert list(tmp_path.iterdir()) == []


def test_the_way_in_python_works(files: Files, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    family = ct.open(str(files.own), module=network)
    assert "slim.json" in family.extract(str(tmp_path / "out"), share=0.5).files


def test_file_bytes_are_what_a_point_needs(files: Files, tmp_path: Path, capsys: Capsys) -> None:
    facts = said(capsys, "inspect", str(files.zoo))
    whole, cut = files.zoo.read_bytes(), tmp_path / "cut.concertina"
    for point in facts["points"]:
        cut.write_bytes(whole[: point["file_bytes"]])
        assert [p.name for p in ct.open(cut, upto=point["point"]).points][-1] == point["point"]
        cut.write_bytes(whole[: point["file_bytes"] - 1])
        assert "is not whole" in refused(capsys, "inspect", cut, "--upto", point["point"])


VERBS = {
    "measure": ["--data", "zoo:digits@test"],
    "extract": ["--share", "0.5", "-o", "out"],
    "export": ["--to", "onnx", "--point", "p50", "-o", "out.onnx"],
    "report": ["-o", "out.html"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_cut_short_serves_the_points_that_are_whole_in_it(
    verb: str, files: Files, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = refused(capsys, verb, files.cut, *VERBS[verb])
    assert "is not whole" in text
    assert "--upto p50, the largest point that is whole in it" in text
    assert "p100 needs" in refused(capsys, verb, files.cut, *VERBS[verb], "--upto", "p100")
    assert "--upto: got 'p33'; allowed: p25, p50, p100" in refused(
        capsys, verb, files.cut, *VERBS[verb], "--upto", "p33"
    )
    assert list(tmp_path.iterdir()) == []
    assert said(capsys, verb, str(files.cut), *VERBS[verb], "--upto", "p50")


def test_inspect_tells_which_points_are_whole(files: Files, capsys: Capsys) -> None:
    facts = said(capsys, "inspect", str(files.cut))
    assert [point["whole here"] for point in facts["points"]] == [True, True, False]
    assert not facts["complete"]
    assert [p["point"] for p in said(capsys, "inspect", str(files.cut), "--upto", "0.3")["points"]] == ["p25"]


def test_points_that_lie_further_on_are_refused_in_words_of_the_command_line(
    files: Files, tmp_path: Path, capsys: Capsys
) -> None:
    text = refused(capsys, "extract", files.cut, "--upto", "p25", "--point", "p50", "-o", tmp_path / "x")
    assert "Give a later --upto, or none." in text
    assert "family.grow" not in text
    text = refused(capsys, "measure", files.cut, "--upto", "p25", "--data", "zoo:digits@test", "--points", "p50")
    assert "--points: got 'p50'; allowed: p25." in text
    text = refused(capsys, "measure", files.cut, "--upto", "p25", "--data", "zoo:digits@test", "--save")
    assert "with all points of the file" in text


def test_a_damaged_file_says_what_to_do(files: Files, tmp_path: Path, capsys: Capsys) -> None:
    bad = bytearray(files.zoo.read_bytes())
    bad[len(bad) // 2] ^= 1
    (tmp_path / "bad.concertina").write_bytes(bad)
    text = refused(capsys, "extract", tmp_path / "bad.concertina", "--share", "1", "-o", tmp_path / "x")
    assert "The file is damaged: fetch it again." in text
