"""`ct.search` on a real family: new points, their figures, bounds, and what is refused."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import concertina as ct
from concertina.errors import BudgetError, DataError, ExtraError, InputError, ResumeError, SpecError, UnknownNameError
from concertina.search import EXECUTORS, bounds
from concertina.search.evaluate import evaluator
from concertina.search.options import SearchOptions, SearchSettings
from concertina.types import SubnetSpec

QUICK: SearchOptions = {"trials": 16, "samples": 120, "calibration_samples": 128}


def test_what_is_found_becomes_points_with_figures_that_a_file_keeps(
    digits: ct.Family, held_out: Any, training: Any, tmp_path: Path
) -> None:
    found = ct.search(digits, held_out, calibrate=training, points=2, **QUICK)
    assert 1 <= len(found.points) <= 2
    assert len(found.trials) == 16
    digits.save(tmp_path / "found.concertina")
    opened = ct.open(tmp_path / "found.concertina")
    for point in found.points:
        assert point.name.startswith("s")
        assert opened.supernet.points[point.name].spec == point.spec
        metrics = {record.metric: record for record in opened.records if record.spec == point.spec.text}
        assert metrics["accuracy"].low <= metrics["accuracy"].value <= metrics["accuracy"].high
        assert metrics["macs"].value == point.macs == opened.supernet.costs.macs(point.spec)
        assert opened.at(point=point.name)(training.tensors[0][:2]).shape == (2, 10)


def test_equal_seeds_find_the_same_and_others_do_not(digits_file: Path, held_out: Any) -> None:
    one, same, other = (ct.search(ct.open(digits_file), held_out, seed=seed, **QUICK) for seed in (1, 1, 2))
    assert one.trials == same.trials
    assert one.points == same.points
    assert one.trials != other.trials


def test_bounds_hold_for_what_becomes_a_point(digits: ct.Family, held_out: Any, training: Any) -> None:
    full = digits.supernet.points["p100"].macs
    found = ct.search(digits, held_out, calibrate=training, macs=0.6 * full, min_accuracy=0.3, points=5, **QUICK)
    values = {trial.spec: trial.value for trial in found.trials}
    assert found.points
    assert all(point.macs <= 0.6 * full and values[point.spec] >= 0.3 for point in found.points)
    assert all(trial.cost <= 0.6 * full for trial in found.trials)


def test_a_bound_below_the_smallest_subnet_names_what_it_costs(digits: ct.Family, held_out: Any) -> None:
    smallest = digits.supernet.costs.macs(digits.supernet.space.smallest)
    with pytest.raises(BudgetError, match=rf"no subnet fits macs=100: allowed: {smallest:,} MACs or more"):
        ct.search(digits, held_out, macs=100, **QUICK)


def test_an_accuracy_out_of_reach_names_the_best_that_was_reached(digits: ct.Family, held_out: Any) -> None:
    before = list(digits.points)
    with pytest.raises(
        BudgetError, match=r"none of 15 subnets .* accuracy 1 with 1e\+05 MACs; allowed: accuracy 0\.\d+"
    ):
        ct.search(digits, held_out, min_accuracy=1.0, macs=100_000, **{**QUICK, "trials": 15})
    assert list(digits.points) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trails": 3}, "unknown option of search: got 'trails'.*Did you mean 'trials'"),
        ({"trials": 0}, "option trials: got 0; allowed: 1 or more"),
        ({"seed": -1}, "option seed: got -1"),
        ({"macs": "many"}, "option macs: got 'many'"),
        ({"latency_ms": 0}, "option latency_ms: got 0"),
        ({"min_accuracy": 1.5}, "option min_accuracy: got 1.5; allowed: 0 to 1: accuracy is a share"),
        ({"threads": 2}, "batch and threads.*together with latency_ms"),
        ({"resume": True}, "option resume: got no journal"),
    ],
)
def test_wrong_options_are_refused_by_name(
    digits: ct.Family, held_out: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        ct.search(digits, held_out, **options)


def test_unknown_strategies_and_executors_name_those_there_are(digits: ct.Family, held_out: Any) -> None:
    with pytest.raises(UnknownNameError, match="guided, nsga2, random"):
        ct.search(digits, held_out, strategy="guide")
    with pytest.raises(UnknownNameError, match="processes, ray, serial"):
        ct.search(digits, held_out, executor="dask")


def test_data_that_does_not_fit_is_refused(digits: ct.Family, held_out: Any) -> None:
    with pytest.raises(DataError, match="inputs of the data do not fit"):
        ct.search(digits, [(held_out.tensors[0][:, :, :4], held_out.tensors[1])])
    with pytest.raises(DataError, match="data for a search: got 3 samples"):
        ct.search(digits, held_out.subset([0, 1, 2]), **QUICK)


def test_a_search_goes_on_from_its_journal_and_no_other(digits_file: Path, held_out: Any, tmp_path: Path) -> None:
    path = tmp_path / "digits.search"
    whole = ct.search(ct.open(digits_file), held_out, **QUICK)
    ct.search(ct.open(digits_file), held_out, journal=path, **{**QUICK, "trials": 13})
    assert len(path.read_text().splitlines()) == 14
    resumed = ct.search(ct.open(digits_file), held_out, journal=path, resume=True, **QUICK)
    assert resumed.trials == whole.trials
    assert resumed.points == whole.points
    with pytest.raises(ResumeError, match="another data, seed"):
        ct.search(ct.open(digits_file), held_out, journal=path, resume=True, seed=1, **QUICK)


def test_a_bound_on_latency_holds_by_the_table_and_by_the_clock(
    digits: ct.Family, held_out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs, space = digits.supernet.costs, digits.supernet.space
    per_mac = 4.0 / costs.macs(space.full)
    table = SimpleNamespace(milliseconds=lambda spec: costs.macs(spec) * per_mac)
    monkeypatch.setattr(bounds, "latency_model", lambda *_args, **_settings: table)
    found = ct.search(digits, held_out, latency_ms=3.9, points=1, **QUICK)
    assert found.goal.cost_name == "latency_ms"
    assert all(trial.cost <= 3.9 for trial in found.trials)
    metrics = {r.metric: r for r in digits.records if r.spec == found.points[0].spec.text}
    assert 0 < metrics["latency_ms_median"].value <= 3.9
    assert metrics["latency_ms_predicted"].value == pytest.approx(found.points[0].macs * per_mac)
    with pytest.raises(BudgetError, match=r"no subnet fits latency_ms=0\.0001: allowed: 0\.\d+ ms or more"):
        ct.search(digits, held_out, latency_ms=1e-4, **QUICK)


def test_subnets_that_turn_out_too_slow_are_no_points(
    digits: ct.Family, held_out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = SimpleNamespace(milliseconds=lambda spec: 1e-9 * digits.supernet.costs.macs(spec))
    monkeypatch.setattr(bounds, "latency_model", lambda *_args, **_settings: table)
    before = list(digits.points)
    assert ct.search(digits, held_out, latency_ms=0.01, points=1, **QUICK).points == ()
    assert list(digits.points) == before


def test_search_without_optuna_says_how_to_get_it(
    digits: ct.Family, held_out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ExtraError, match=r"concertina-nn\[search\]"):
        ct.search(digits, held_out, **QUICK)


@pytest.mark.parametrize("name", ["serial", *(pytest.param(n, marks=pytest.mark.slow) for n in ("processes", "ray"))])
def test_every_executor_gives_the_same_values_in_order(name: str, digits: ct.Family, held_out: Any) -> None:
    if name == "ray":
        pytest.importorskip("ray")
    measure = evaluator(digits.supernet, digits.task, (held_out, held_out), (128, 128), 0)
    specs = [digits.supernet.order.spec(i) for i in (0, 20, 40)]
    with EXECUTORS.get(name)(measure, 2) as executor:
        assert list(executor.values(specs)) == [measure(spec) for spec in specs]


def test_what_measures_a_family_from_a_file_can_be_sent_to_other_processes(digits: ct.Family, held_out: Any) -> None:
    measure = evaluator(digits.supernet, digits.task, (held_out, held_out), (128, 128), 0)
    sent, spec = pickle.loads(pickle.dumps(measure)), digits.supernet.order.spec(20)
    assert sent(spec) == measure(spec)
    assert sent.supernet.costs.macs(spec) == digits.supernet.costs.macs(spec)


@pytest.mark.slow
def test_an_error_of_an_evaluation_comes_back_from_ray_as_it_was(digits: ct.Family, held_out: Any) -> None:
    ray = pytest.importorskip("ray")
    measure = evaluator(digits.supernet, digits.task, (held_out, held_out), (128, 128), 0)
    with (
        EXECUTORS.get("ray")(measure, 1) as executor,
        pytest.raises(SpecError, match=r"^subnet spec names an unknown dim 'width:none'") as caught,
    ):
        list(executor.values([SubnetSpec.of({"width:none": 1})]))
    assert "ray::" not in str(caught.value)
    assert not ray.is_initialized()


def test_ray_is_asked_for_before_anything_is_measured(
    digits: ct.Family, held_out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    told: list[str] = []
    with pytest.raises(ExtraError, match=r"executor 'ray'.*got ray\. Run: pip install \"concertina-nn\[ray\]\""):
        ct.search(digits, held_out, executor="ray", progress=lambda stage, _done: told.append(stage), **QUICK)
    assert told == []


def test_options_and_settings_have_the_same_fields() -> None:
    assert list(SearchOptions.__annotations__) == list(SearchSettings.__dataclass_fields__)
    assert json.dumps(SearchSettings().seed) == "0"
