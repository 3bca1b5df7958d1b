"""The page of language models: its figures are those of its run files, and its Python runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest


def test_the_page_is_made_from_its_run_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    bench = runpy.run_path(str(root / "benchmarks" / "language.py"))
    text = (root / "docs" / "language.md").read_text(encoding="utf-8")
    assert text == bench["page"](bench["newest"]("valid"), bench["newest"]("test"))
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert all((root / "docs" / link).exists() for link in links)


def test_the_python_of_the_page_runs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (root / "docs" / "language.md").read_text(encoding="utf-8"), re.DOTALL)
    for name in ("train.txt", "held.txt"):
        (tmp_path / name).write_text("The game was over. " * 60, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(
        code.replace("zoo:tiny-decoder", "zoo:tiny-decoder@depth=1,width=16,heads=2,inner=16")
        .replace('16")', '16", weights="random")')
        .replace("epochs=1,", "epochs=0.2,"),
        {},
    )
    assert capsys.readouterr().out.startswith("The game was ")
