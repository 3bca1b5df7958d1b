"""The page about serving, run as it stands, and its parameters and options are those there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from concertina.serve import Request


def test_the_page_runs_as_it_stands(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (root / "docs" / "serving.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile("\n".join(blocks), "docs/serving.md", "exec"), {"__name__": "page"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("p")
    assert [re.findall(r"point='(\w+)'", line) for line in lines[1:3]] == [["p100"], ["p25"]]
    assert lines[3] == "busy"
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(Request.__annotations__)
