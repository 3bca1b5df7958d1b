"""The page "One core, six domains", run as it stands; its tables are those of the runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from concertina.measure.runs import read_run


def test_the_page_runs_as_it_stands(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "domains.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile("\n".join(blocks), "docs/domains.md", "exec"), names)
    family, held, domains = names["family"], names["held"], names["domains"]
    assert len(domains) == len(names["small"].modules) == 6
    for name, found in names["figures"].items():
        images = names["seen"](name, held)
        plain = [family.view(p.name)(images.inputs).argmax(1) == images.labels for p in family.points]
        assert all(r.value > float(rows.float().mean()) for r, rows in zip(found, plain, strict=True)), name
        routed = family.route(images.inputs)
        assert routed.count(name) > 0.8 * len(routed), name
        assert family.modules[name].size_bytes < 0.2 * family.points[-1].size_bytes
    assert names["by_hand"].shape == names["by_itself"].shape == (6, 10)


@pytest.mark.parametrize("study", ["images", "texts"])
def test_the_tables_are_those_of_the_runs(root: Path, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    bench = runpy.run_path(str(root / "benchmarks" / "domains.py"))
    path, text = bench["newest"](study), (root / "docs" / "domains.md").read_text(encoding="utf-8")
    assert bench["table"](study, read_run(path)) in text
    assert path.name in text
