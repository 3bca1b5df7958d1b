"""The README tells the truth: its Python runs, and its figures are those of the run file it names."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from concertina.measure.runs import read_run


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_python_of_the_readme_runs_as_it_stands(root: Path, tmp_path: Path) -> None:
    (code,) = blocks((root / "README.md").read_text(), "python")
    assert len([line for line in code.split("\n") if line.strip()]) <= 12
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tensor([" in done.stdout
    assert (tmp_path / "digits.concertina").exists()


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
