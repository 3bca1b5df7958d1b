"""The demo: what it writes, what it never overwrites, and that what it tells to try next gives the same figures."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import concertina as ct
from concertina.cli import demo, main
from concertina.family.rivals import TRAINING_MACS, TUNED


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """Return the folder of a short demo, its figures, and what it prints."""
    folder = tmp_path_factory.mktemp("a demo")
    program = (
        "import sys\nfrom concertina.cli import demo, main\n"
        "demo.NETWORK, demo.POINTS, demo.EPOCHS, demo.LATENCY_LIMIT_S = 'zoo:mlp', (0.1, 1.0), 1, 0.5\n"
        "family = []\nmake = demo._make\n"
        "demo._make = lambda *words: family[0] if family else family.append(make(*words)) or family[0]\n"
        f"words = ['demo', '-q', '-o', {str(folder)!r}]\n"
        "sys.exit(main([*words, '--json']) or print('=====') or main(words))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures, _, text = done.stdout.partition("=====\n")
    return folder, json.loads(figures), text


def test_rivals_say_whether_they_were_tuned_and_what_that_cost(told: tuple[Path, dict[str, Any], str]) -> None:
    folder, figures, text = told
    small, full = figures["points"]
    assert small["torch_pruning_tuned"] > small["torch_pruning"]
    assert full["torch_pruning_tuned"] is None
    head = next(line for line in text.split("\n") if "this family" in line and "MACs" in line)
    assert "core sliced naively, untuned" in head
    assert "Torch-Pruning, untuned" in head
    assert "Torch-Pruning, tuned alone" in head
    assert "not trained after the cut" in text
    family = ct.open(folder / "digits.concertina")
    (cost,) = (record for record in family.records if record.metric == TRAINING_MACS)
    assert cost.scope == TUNED
    spent = figures["training_macs"]
    assert spent == {
        "family": int(family.evidence.provenance["training MACs"]),
        "torch_pruning_tuned": int(cost.value),
        "tuned_networks": 1,
    }
    assert f"{spent['family']:.2g} MACs for this family, {spent['torch_pruning_tuned']:.2g}" in text


def test_what_it_tells_to_try_next_gives_its_own_figures(
    told: tuple[Path, dict[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, figures, text = told
    commands = [shlex.split(line) for line in text.partition("Try next:\n")[2].strip().split("\n")]
    assert [words[1] for words in commands] == ["inspect", "extract", "measure", "-c"]
    assert main(commands[0][1:]) == 0
    done = subprocess.run([sys.executable, *commands[-1][1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    capsys.readouterr()
    before = (ct.open(folder / "digits.concertina"), (folder / "report.html").read_text())
    assert main([*(word for word in commands[2][1:] if word != "--latency"), "--save", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for point in figures["points"]:
        mine = {row["metric"]: row["value"] for row in found if row["point"] == point["name"] and not row["scope"]}
        assert (mine["accuracy"], mine["macs"]) == (point["accuracy"], point["macs"])
    after = ct.open(folder / "digits.concertina")
    assert [point.metrics for point in after.points] == [point.metrics for point in before[0].points]
    again = folder / "again.html"
    assert main(["report", str(folder / "digits.concertina"), "-o", str(again)]) == 0
    for wanted in ("core sliced naively, untuned", "tuned alone", ">core<", "zoo:digits@test, 360 samples"):
        assert wanted in before[1], wanted
        assert wanted in again.read_text(), wanted


def test_it_makes_its_own_files_anew_and_touches_no_others(
    told: tuple[Path, dict[str, Any], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    files: Any,
) -> None:
    def started(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_make", started)
    own, page = told[0] / "digits.concertina", told[0] / "report.html"
    others = {"digits.concertina": files.zoo.read_bytes(), "report.html": b"<html>my own notes on Concertina</html>"}
    for name, content in others.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert main(["demo", "-q", "-o", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert f"'{path}' is there already and no demo wrote it. Give --yes to replace it" in error
        assert path.read_bytes() == content
        assert main(["demo", "-q", "--yes", "-o", str(tmp_path)]) == 130
        path.unlink()
    for path in (own, page):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert main(["demo", "-q", "-o", str(tmp_path)]) == 130
