"""The README tells the truth: its Python runs, and its figures are those of the run file it names."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import concertina as ct
from concertina.measure.runs import read_run


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_python_of_the_readme_runs_as_it_stands(root: Path, tmp_path: Path) -> None:
    code, _ = blocks((root / "README.md").read_text(), "python")
    assert len([line for line in code.split("\n") if line.strip()]) <= 12
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tensor([" in done.stdout
    accuracy = {line.split()[0]: float(line.split()[-2]) for line in done.stdout.split("\n")[1:5]}
    assert min(accuracy.values()) > 0.95
    assert max(accuracy["core"] - figure for figure in accuracy.values()) < 0.03
    assert (tmp_path / "digits.concertina").exists()


class MyNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 16, 3, stride=4), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)),
        )


def test_the_python_for_a_network_of_one_s_own_runs_too(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, code = blocks((root / "README.md").read_text(), "python")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(64, 3, 32, 32), torch.arange(64) % 2)
    names = {f"{part}_dataset": data for part in ("train", "validation", "test")}
    exec(code, {"ct": ct, "torch": torch, "MyNet": MyNet, **names})
    wanted = {"half", "half.onnx", "mine.concertina", "mine.html"}
    assert wanted <= {path.name for path in tmp_path.iterdir()}


def test_the_demo_s_table_is_that_of_its_run_file(root: Path) -> None:
    bench = runpy.run_path(str(root / "benchmarks" / "demo.py"))
    path = bench["newest"]()
    readme = (root / "README.md").read_text()
    assert readme == bench["with_block"](readme, bench["readme_block"](read_run(path), path.name))
    assert readme.count("| p") >= 6


@pytest.mark.parametrize("command", ["demo", "test"])
def test_the_two_commands_are_there(root: Path, command: str) -> None:
    assert f"make {command}" in (root / "README.md").read_text()
    assert f"\n{command}:\n" in (root / "Makefile").read_text()
    assert len((root / "scripts" / command).read_text().split("\n")) <= 12


def test_links_of_the_readme_lead_somewhere(root: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (root / "README.md").read_text())
    missing = [link for link in links if not (root / link).exists()]
    assert links
    assert missing == []
