"""The page about modules, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "modules.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile("\n".join(blocks), "docs/modules.md", "exec"), names)
    family, held = names["family"], names["held"]
    assert {record.scope for record in names["records"]} == {"module parity"}
    assert names["odd"](held.inputs[:4]).shape == names["fast"](held.inputs[:4]).shape == (4, 2)
    assert list(family.modules) == ["dark", "parity"]
    assert names["handle"].merged
    assert names["small"].answer(held.inputs[:4], "parity").shape == (4, 2)
    routed = family.route(-held.inputs)
    assert routed.count("dark") > 0.8 * len(routed)
