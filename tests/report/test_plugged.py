"""The report lists a family's modules with bytes and figures, from the family and from its file alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.samples import accuracy, family

import concertina as ct
from concertina.report import page, report_data
from concertina.report.collect import file_data
from concertina.report.plugged import module_table
from concertina.save import open_artifact


def test_each_module_has_a_line_with_its_bytes_and_the_figures_measured_with_it() -> None:
    plain = family((0.5, 1.0))
    records = [*plain.records, accuracy(1, 0.75, scope="module dark", data="d2")]
    records.append(accuracy(0, 0.5, scope="modules dark, gender", data="d3"))
    data = family((0.5, 1.0), records=records, modules={"dark": 2048, "gender": 64})
    table = module_table(data)
    assert table is not None
    assert table[0] == ["module", "bytes", "accuracy at p50", "accuracy at p100"]
    assert [line[:2] for line in table[1]] == [["dark", "2,048"], ["gender", "64"], ["dark, gender", table[1][0][2]]]
    missing = table[1][0][2]
    assert ("75" in table[1][0][3], table[1][1][2:]) == (True, [missing, missing])
    assert ("50" in table[1][2][2], table[1][2][3]) == (True, missing)
    assert "<h2>Modules</h2>" in page(data)
    assert "<h2>Modules</h2>" not in page(plain)


@pytest.fixture(scope="module")
def owner() -> ct.Family:
    core = ct.load("zoo:mlp")
    data = ct.open_data("zoo:digits@validation", preprocess=core.preprocess, class_names=core.class_names)
    made = ct.fit(core, data, data, points=(0.25,), epochs=0)
    made.adapt("same", data, data, kind="affine", epochs=0.1)
    made.route_base(data)
    return made


def test_the_file_tells_of_the_same_modules_as_the_family(owner: ct.Family, tmp_path: Path) -> None:
    owner.save(tmp_path / "x.concertina")
    with open_artifact(tmp_path / "x.concertina") as artifact:
        found = module_table(file_data(artifact, "x"))
    known = module_table(report_data(owner, "x"))
    assert found is not None
    assert known is not None
    assert [line[0] for line in found[1]] == [line[0] for line in known[1]] == ["same"]
    assert [line[2:] for line in found[1]] == [line[2:] for line in known[1]]
    assert all(any(sign.isdigit() for sign in cell) for cell in found[1][0][2:])
