"""The dial: budgets in, operating points out, everything else refused by name."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.family.subjects import digits, family

import concertina as ct
from concertina.errors import BudgetError, DataError, PointError, SpecError
from concertina.family import Family
from concertina.family.dial import largest_that_fits
from concertina.load.data import ArrayData
from concertina.measure.machine import machine_fingerprint, versions
from concertina.save import BytesSource
from concertina.types import Point


@given(st.floats(0.05, 1.0))
def test_a_share_gives_the_largest_point_within(share: float) -> None:
    chosen = family().choose(share)
    assert chosen.share <= share
    assert all(point.share > share for point in family().points if point.macs > chosen.macs)


def costs(point: Point, kind: str) -> float:
    return float(getattr(point, kind))


KINDS = ("share", "macs", "params", "size_bytes")
POINTS = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=8, unique=True
)


@given(POINTS, st.sampled_from(KINDS), st.floats(0.01, 1.5), st.randoms())
def test_any_budget_gives_the_largest_of_any_points_that_fit(
    figures: list[tuple[int, int, int]], kind: str, scale: float, chance: Random
) -> None:
    whole = max(macs for macs, _, _ in figures)
    made = [
        Point(f"p{i}", ct.SubnetSpec.of({"width:a": i}), i, macs, params, size, macs / whole)
        for i, (macs, params, size) in enumerate(figures)
    ]
    chance.shuffle(made)
    limit = scale * costs(made[0], kind)
    fitting = [point for point in made if costs(point, kind) <= limit * (1 + 1e-9)]
    if kind == "share" and limit > 1:
        with pytest.raises(BudgetError, match="up to 1"):
            largest_that_fits(made, kind, limit)
    elif not fitting:
        with pytest.raises(BudgetError, match="or more"):
            largest_that_fits(made, kind, limit)
    else:
        chosen = largest_that_fits(made, kind, limit)
        assert chosen in fitting
        assert chosen.macs == max(point.macs for point in fitting)


@given(st.sampled_from(KINDS), st.floats(0.02, 1.0), st.floats(0.02, 1.0))
def test_a_larger_budget_never_gives_a_smaller_point(kind: str, one: float, other: float) -> None:
    most = costs(family().points[-1], kind)
    least = max(costs(point, kind) for point in family().points[:1]) / most
    small, large = sorted((max(one, least), max(other, least)))
    assert family().choose(**asked(kind, small * most)).macs <= family().choose(**asked(kind, large * most)).macs


def asked(kind: str, limit: float) -> dict[str, Any]:
    return {kind: limit}


@cache
def stored() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        family().save(Path(folder) / "f.concertina")
        return (Path(folder) / "f.concertina").read_bytes()


@cache
def opened(upto: str | None) -> Family:
    return ct.open(BytesSource(stored()), upto=upto)


@given(st.sampled_from(["p5", "p20", "p60", "p100"]), st.sampled_from(KINDS), st.floats(0.02, 1.0))
def test_a_part_answers_as_the_whole_or_says_that_more_must_be_read(upto: str, kind: str, scale: float) -> None:
    limit = scale * costs(family().points[-1], kind)
    part, whole = opened(upto), opened(None)
    try:
        wanted = whole.choose(**asked(kind, limit))
    except BudgetError as error:
        with pytest.raises(BudgetError, match=re.escape(str(error))):
            part.choose(**asked(kind, limit))
        return
    if wanted.name in part.supernet.points:
        assert part.choose(**asked(kind, limit)) == wanted
    else:
        with pytest.raises(PointError, match=rf"{wanted.name}' is in the file but .*family\.grow\('{wanted.name}'\)"):
            part.choose(**asked(kind, limit))


def test_a_part_says_that_more_must_be_read_for_names_specs_and_calibration() -> None:
    part = ct.open(BytesSource(stored()), upto="p20")
    whole = opened(None)
    for ask in (lambda: part.at(point="p60"), lambda: part.at(whole.points[2].spec), lambda: part.at(1.0)):
        with pytest.raises(PointError, match="has not been read"):
            ask()
    for size in (0.4, whole.supernet.space.full):
        with pytest.raises(PointError, match="a part of this subnet is in the file but has not been read"):
            part.at(size, calibrate=digits())
    small = part.at(0.1, calibrate=digits())
    assert torch.equal(small(digits().inputs[:4]), whole.at(0.1, calibrate=digits())(digits().inputs[:4]))
    assert "2 more in the file" in repr(part)
    part.grow()
    assert part.choose(1.0) == whole.choose(1.0)


def timed(made: Family, milliseconds: Sequence[float], mark: str = "") -> list[ct.Record]:
    """Return Records of one median each for the points of a family."""
    scope = f"batch=1 threads=1{mark}"
    here = {"scope": scope, "machine": machine_fingerprint(), "versions": versions()}
    pairs = zip(made.points, milliseconds, strict=True)
    return [ct.Record(point.spec.text, "latency_ms_median", ms, "ms", **here) for point, ms in pairs]


def test_a_part_says_that_more_must_be_read_for_a_latency_that_its_largest_point_keeps() -> None:
    part = ct.open(BytesSource(stored()), upto="p20")
    part.add_records(timed(part, (1.0, 2.0)))
    assert part.choose(latency_ms=1.5, threads=1).name == "p5"
    with pytest.raises(PointError, match="'p60' is in the file but has not been read"):
        part.choose(latency_ms=2.5, threads=1)


def test_latencies_that_are_not_sound_are_measured_again_and_then_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = ct.open(BytesSource(stored()))
    times: list[int] = []

    def busy(self: Family, **_setting: object) -> list[ct.Record]:
        times.append(1)
        self.add_records(timed(self, (1, 2, 3, 4), " unresolved"))
        return []

    monkeypatch.setattr(Family, "measure_latency", busy)
    made.add_records(timed(made, (10, 20, 30, 40), " unresolved"))
    assert made.choose(latency_ms=2.5, threads=1).name == "p20"
    assert made.choose(latency_ms=3.5, threads=1).name == "p60"
    assert len(times) == 1
    assert "latencies of p5, p20, p60, p100 are unresolved" in caplog.text
    assert "concertina measure FILE --latency --save" in caplog.text
    caplog.clear()
    made.add_records(timed(made, (2, 4, 6, 8)))
    assert made.choose(latency_ms=5, threads=1).name == "p20"
    assert (len(times), caplog.text) == (1, "")


@pytest.mark.parametrize("stale", [{"machine": "another"}, {"versions": "torch 1.0"}, {"scope": "batch=2 threads=1"}])
def test_latencies_of_another_machine_or_version_do_not_count(
    monkeypatch: pytest.MonkeyPatch, stale: dict[str, str]
) -> None:
    made = ct.open(BytesSource(stored()))
    made.add_records([replace(record, **stale) for record in timed(made, (1, 2, 3, 4))])
    monkeypatch.setattr(Family, "measure_latency", lambda self, **_: self.add_records(timed(self, (5, 6, 7, 8))))
    assert set(made.latencies_ms(threads=1).values()) == {5, 6, 7, 8}


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
        ({"sharee": 0.5}, "unknown budget: got sharee"),
        ({"size_byte": 1e6}, "Did you mean 'size_bytes'"),
        ({"latency_ms": 1, "batch": 0}, "batch: got 0; allowed: a whole number, 1 or more"),
        ({"latency_ms": 1, "threads": "2"}, "threads: got '2'"),
        ({"macs": "1e6"}, "budget macs: got '1e6'"),
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
