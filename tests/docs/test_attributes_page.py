"""The page about attributes: its Python runs, and its figures are those of the run file it names."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concertina.measure.runs import read_run


def test_the_page_runs_as_it_stands(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    sex, town, skill = random.integers(0, 2, 1000), random.integers(0, 2, 1000), random.normal(size=1000)
    rows = [f"{'fm'[a]},{'xy'[b]},{c + 0.3 * a:.3f},{int(c > 0)}" for a, b, c in zip(sex, town, skill, strict=True)]
    (tmp_path / "people.csv").write_text("\n".join(("sex,town,skill,label", *rows)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(
        r"```python\n(.*?)```", (root / "docs" / "attributes.md").read_text(encoding="utf-8"), re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(code, names)
    assert list(names["family"].modules) == ["town"]
    assert {record.scope for record in names["left"]} == {"modules sex, town"}
    assert 0 < names["made"].differing[0] <= names["made"].differing[1]
    assert names["both"](names["held"].inputs).shape == (200, 2)


def test_the_figures_are_those_of_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    bench = runpy.run_path(str(root / "benchmarks" / "debias.py"))
    path, text = bench["newest"](), (root / "docs" / "attributes.md").read_text(encoding="utf-8")
    assert bench["table"](read_run(path)) in text
    assert path.name in text
