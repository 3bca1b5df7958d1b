"""Everything the command line does, done in Python with a network of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.family.subjects import digits
from torch import Tensor, nn

import concertina as ct
from concertina.errors import DataError, ExportError, InputError, PointError, StorageError, UnknownNameError
from concertina.family import Family
from concertina.load.data import ArrayData


class Mine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU())
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def flat(part: str = "train") -> ArrayData:
    return ArrayData([digits(part).inputs.flatten(1), digits(part).labels], digits().class_names)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    core = ct.load(Mine(), torch.randn(2, 64), class_names=tuple("0123456789"))
    family = ct.fit(core, flat(), flat("validation"), points=(0.4,), epochs=1, criterion="magnitude-l1")
    path = tmp_path_factory.mktemp("mine") / "mine.concertina"
    family.save(path)
    return path


@pytest.fixture
def mine(file: Path) -> Family:
    return ct.open(file, module=Mine())


def test_a_network_of_one_s_own_is_extracted(mine: Family, tmp_path: Path) -> None:
    written = mine.extract(tmp_path / "half", 0.5)
    assert "model.safetensors" in written.files
    plan = json.loads((tmp_path / "half" / "slim.json").read_text())
    assert (plan["point"], plan["source"], plan["class_names"][1]) == ("p31", "module:Mine", "1")
    program = torch.export.load(tmp_path / "half" / "model.pt2").module()
    inputs = flat("validation").inputs[:5]
    assert torch.allclose(program(inputs), mine.at(0.5)(inputs), atol=1e-5)
    with pytest.raises(PointError, match="allowed: p31, p100"):
        mine.extract(tmp_path / "none", point="p41")
    with pytest.raises(StorageError, match="is a file"):
        mine.extract(tmp_path / "half" / "slim.json", 0.5)


def test_a_network_of_one_s_own_is_exported_and_checked(mine: Family, tmp_path: Path) -> None:
    made = mine.export(tmp_path / "half.onnx", 0.5, data=flat("validation"))
    assert (made.agreement.num_real, made.agreement.top1) == (300, True)
    assert mine.export(tmp_path / "all.xml", point="p100", to="openvino").files[0].exists()
    shared = mine.export_all(tmp_path / "all")
    assert sorted(shared.graphs) == ["p100", "p31"]
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        mine.export(tmp_path / "half.xml", 0.5)
    with pytest.raises(UnknownNameError, match="Did you mean 'onnx'"):
        mine.export(tmp_path / "half.onnx", 0.5, to="onx")
    with pytest.raises(UnknownNameError, match="exporter: got 3"):
        mine.export(tmp_path / "half.onnx", 0.5, to=3)  # type: ignore[arg-type]


def test_a_network_of_one_s_own_is_reported(mine: Family, tmp_path: Path) -> None:
    ct.report(mine, tmp_path / "mine.html")
    page = (tmp_path / "mine.html").read_text()
    assert "module:Mine" in page
    assert "p31" in page
    ct.report(mine, tmp_path / "mine.html", title="Mine & yours")
    assert "Mine &amp; yours" in (tmp_path / "mine.html").read_text()
    with pytest.raises(StorageError, match="nowhere"):
        ct.report(mine, tmp_path / "nowhere" / "mine.html")


def test_a_network_of_one_s_own_is_measured_and_saved_again(mine: Family, tmp_path: Path) -> None:
    assert mine.points.core.keys() == {"accuracy", "worst_class_recall"}
    records = mine.measure(flat())
    assert {r.spec for r in records} == {point.spec.text for point in mine.points}
    assert mine.points.core == {}
    records = mine.measure(flat(), points=["p100"])
    assert {r.spec for r in records} == {mine.points[-1].spec.text}
    mine.save(tmp_path / "again.concertina")
    assert ct.open(tmp_path / "again.concertina", module=Mine()).records == mine.records
    with pytest.raises(PointError, match="unknown operating point: got 'p41'"):
        mine.measure(flat(), points=["p41"])
    with pytest.raises(DataError, match=r"fit the network: got shape \(1, 8, 9\) each; allowed: \(64,\)"):
        mine.measure(ArrayData([torch.randn(4, 1, 8, 9), torch.arange(4)]))


def test_the_network_given_at_opening_is_never_touched(file: Path) -> None:
    given = Mine().train()
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    opened = ct.open(file, module=given)
    opened.measure(flat())
    opened.at(0.6, calibrate=flat())
    opened.supernet.costs.macs(opened.points[0].spec)
    assert given.training
    assert all(torch.equal(before[name], tensor) for name, tensor in given.state_dict().items())


def test_latency_and_a_new_point_of_a_network_of_one_s_own(mine: Family) -> None:
    assert mine.measure_latency(time_limit_s=0.2)
    kept = mine.keep(0.7, calibrate=flat(), validation=flat("validation"))
    assert dict(kept.metrics)["accuracy"] > 0
    assert mine.at(0.7) is mine.at(point=kept.name)


def test_an_export_that_computes_something_else_is_not_kept(
    mine: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concertina.export.onnx import Onnx

    other = mine.at(1.0)
    write = Onnx.write

    def swapped(self: Onnx, program: object, path: Path, facts: dict[str, str]) -> tuple[Path, ...]:
        from concertina.export.capture import capture

        return write(self, capture(other, mine.core.example_inputs), path, facts)

    monkeypatch.setattr(Onnx, "write", swapped)
    with pytest.raises(ExportError, match=r"half\.onnx"):
        mine.export(tmp_path / "half.onnx", 0.5)
    assert not (tmp_path / "half.onnx").exists()
