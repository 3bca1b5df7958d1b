"""The dial: budgets in, operating points out, everything else refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.family.subjects import digits, family

import concertina as ct
from concertina.errors import BudgetError, DataError, PointError, SpecError
from concertina.load.data import ArrayData


@given(st.floats(0.05, 1.0))
def test_a_share_gives_the_largest_point_within(share: float) -> None:
    chosen = family().choose(share)
    assert chosen.share <= share
    assert all(point.share > share for point in family().points if point.macs > chosen.macs)


@pytest.mark.parametrize("kind", ["macs", "params", "size_bytes"])
def test_other_budgets_give_the_largest_point_within(kind: str) -> None:
    for point in family().points:
        limit = getattr(point, kind)
        assert family().choose(**{kind: limit}) == point
        if point is not family().points[0]:
            assert family().choose(**{kind: limit - 1}).macs < point.macs


def test_asking_again_gives_the_same_module_and_names_work() -> None:
    assert family().at(0.2) is family().at(point="p20")
    assert family().at(family().points[0].spec) is family().view(family().points[0].name)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"macs": 10}, "smallest point, 'p5'"),
        ({"params": 3}, "parameters or more"),
        ({"size_bytes": 1}, "bytes or more"),
        ({"latency_ms": 1e-9}, "ms or more"),
        ({"macs": 0}, "a number above 0"),
        ({"macs": float("nan")}, "a number above 0"),
        ({}, "one budget at a time"),
        ({"macs": 1, "params": 1}, "one budget at a time"),
        ({"flops": 1}, "unknown budget: got flops"),
        ({"macs": 1e6, "batch": 2}, "go with latency_ms"),
    ],
)
def test_impossible_budgets_are_refused_by_name(budget: dict, words: str) -> None:
    with pytest.raises(BudgetError, match=words):
        family().at(**budget)


@pytest.mark.parametrize("share", [0.0, -1, 1.01, 50, float("nan"), "half", True])
def test_a_share_outside_0_to_1_is_refused(share: object) -> None:
    with pytest.raises(BudgetError, match="share"):
        family().at(share)  # type: ignore[arg-type]


def test_points_that_are_none_are_refused_with_the_nearest() -> None:
    made = family()
    between = made.supernet.order.spec((made.points[0].position + made.points[1].position) // 2)
    with pytest.raises(PointError, match=r"'p5' .* or 'p20' .*calibrate=data"):
        made.at(between)
    with pytest.raises(PointError, match="allowed: p5, p20"):
        made.at(point="p21")
    with pytest.raises(SpecError, match="leaves out dims"):
        made.at(ct.SubnetSpec.of({}))


def test_calibrated_statistics_beat_borrowed_ones() -> None:
    made = ct.fit(ct.load("zoo:digits-cnn"), digits(), points=(0.3,), epochs=0)
    spec = made.supernet.order.spec(made.points[0].position - 2)
    borrowed = made.supernet.subnet(spec)
    own = made.at(spec, calibrate=digits())
    inputs, labels = digits().tensors
    with torch.no_grad():
        right = [float((net(inputs).argmax(1) == labels).float().mean()) for net in (borrowed, own)]
    assert right[1] > right[0]


def test_calibration_data_is_checked() -> None:
    with pytest.raises(DataError, match="data"):
        family().at(0.37, calibrate=5)


def test_a_part_opened_grows_and_keeps_views_valid(tmp_path: Path) -> None:
    path = tmp_path / "f.concertina"
    family().save(path)
    inputs = digits().inputs[:8]
    for reserve in (True, False):
        part = ct.open(path, upto=0.2, reserve=reserve)
        assert [p.name for p in part.points] == ["p5", "p20"]
        view = part.at(0.2)
        before = view(inputs)
        with pytest.raises(PointError, match="grow"):
            part.save(tmp_path / "g.concertina")
        assert [p.name for p in part.grow()] == [p.name for p in family().points]
        assert torch.equal(before, view(inputs))
        for point in part.points:
            assert torch.equal(part.view(point.name)(inputs), family().view(point.name)(inputs))
    with pytest.raises(PointError, match="not opened from a file"):
        family().grow()


def test_records_travel_with_the_file(tmp_path: Path) -> None:
    family().save(tmp_path / "f.concertina")
    opened = ct.open(tmp_path / "f.concertina")
    assert opened.records == family().records
    assert opened.points == family().points
    assert len(opened.evidence.core_predictions) == 300
    assert opened.evidence.provenance["recipe"] == "sandwich"


def test_a_module_of_one_s_own_needs_itself_to_open(tmp_path: Path) -> None:
    from torch import nn

    torch.manual_seed(0)
    mine = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 10))
    data = ArrayData((digits().inputs.flatten(1), digits().labels))
    made = ct.fit(ct.load(mine, torch.randn(2, 64)), data, data, points=(0.4,), epochs=1, criterion="magnitude-l1")
    made.save(tmp_path / "mine.concertina")
    with pytest.raises(ct.ConcertinaError, match="module=YourNetwork"):
        ct.open(tmp_path / "mine.concertina")
    with pytest.raises(ct.ConcertinaError, match=r"tensor '0.weight'"):
        ct.open(tmp_path / "mine.concertina", module=nn.Sequential(nn.Linear(64, 31)))
    opened = ct.open(tmp_path / "mine.concertina", module=mine)
    assert torch.equal(opened.at(0.4)(data.inputs[:4]), made.at(0.4)(data.inputs[:4]))
