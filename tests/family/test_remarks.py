"""What the figures say against a family is said plainly; what they do not say is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.family.subjects import digits

import concertina as ct
from concertina.family.evidence import Evidence, core_figures
from concertina.family.remarks import remarks
from concertina.load.data import ArrayData
from concertina.objective.base import Metric
from concertina.objective.intervals import wilson
from concertina.types import Point, Record, SubnetSpec

FULL, HALF = SubnetSpec.of({"width:a": 2}), SubnetSpec.of({"width:a": 1})
POINTS = (Point("p50", HALF, 0, 5, 5, 20, 0.5), Point("p100", FULL, 1, 10, 9, 36, 1.0))
ACCURACY, ERROR = Metric("accuracy", "max"), Metric("error", "min", "nats")


def share(spec: str, hits: int, n: int = 1000, data: str = "d", metric: str = "accuracy") -> Record:
    low, high = wilson(hits, n)
    return Record(spec, metric, hits / n, "share", n, low, high, data=data)


@pytest.mark.parametrize(
    ("full", "core", "told"), [(900, 930, True), (900, 910, False), (930, 900, False), (999, 1000, False)]
)
def test_a_full_point_below_the_core_is_told(full: int, core: int, told: bool) -> None:
    found = remarks(POINTS, [share("core", core), share(FULL.text, full), share(HALF.text, 500)], ACCURACY)
    assert bool(found) == told
    if told:
        assert "'p100' has lost against the core: accuracy 90.0% (95% interval 88.0% to 91.7%, n=1000)" in found[0]
        assert "where the core has 93.0%" in found[0]


def test_smaller_is_better_where_the_metric_says_so() -> None:
    worse = Record(FULL.text, "error", 2.0, "nats", 10, 1.9, 2.1, data="d")
    core = Record("core", "error", 1.5, "nats", 10, 1.4, 1.6, data="d")
    assert "error 2 (95% interval 1.9 to 2.1, n=10) where the core has 1.5" in remarks(POINTS, [worse, core], ERROR)[0]
    assert not remarks(POINTS, [replace(worse, value=1.4, low=1.3, high=1.5), core], ERROR)


def test_figures_of_other_data_say_nothing() -> None:
    assert not remarks(POINTS, [share("core", 990), share(FULL.text, 500, data="other")], ACCURACY)
    assert not remarks(POINTS, [share(FULL.text, 500)], ACCURACY)


def test_the_core_stands_beside_points_measured_on_the_same_data_only() -> None:
    shown = [point.with_metrics({"accuracy": value}) for point, value in zip(POINTS, (0.5, 0.9), strict=True)]
    records = [share(HALF.text, 500), share(FULL.text, 900), share("core", 930)]
    assert core_figures(shown, records) == {"accuracy": 0.93}
    assert core_figures(shown, records[:2]) == {}
    assert core_figures([shown[0], shown[1].with_metrics({"accuracy": 0.8})], records) == {}
    assert core_figures(POINTS, records) == {}


def test_training_that_harms_the_full_point_is_told(caplog: pytest.LogCaptureFixture) -> None:
    core = ct.load("zoo:mlp")
    data = [ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess) for part in ("train", "validation")]
    made = ct.fit(core, *data, points=(0.5,), epochs=0.5, learning_rate=0.9, batch_size=16, criterion="magnitude-l1")
    assert len(made.warnings) == 1
    assert made.warnings[0] in caplog.text
    assert "core" in repr(made.points).split("\n")[-1]


def test_churn_is_told_only_against_the_core_s_predictions_on_the_same_data() -> None:
    made = ct.fit(ct.load("zoo:mlp"), flat(0), flat(0), points=(0.5,), epochs=0, criterion="magnitude-l1")
    assert {r.data for r in made.records if r.metric == "churn"} == {flat(0).fingerprint}
    made.measure(flat(1), core=ct.load("zoo:mlp"))
    found = made.measure(flat(0))
    assert not [record for record in found if record.metric == "churn"]
    assert [record for record in made.measure(flat(1)) if record.metric == "churn"]


def flat(part: int) -> ArrayData:
    rows = slice(150 * part, 150 * part + 150)
    return ArrayData([digits().inputs[rows].flatten(1), digits().labels[rows]])


def test_new_records_replace_old_ones_of_a_kind_and_stand_last() -> None:
    old = (share("core", 900), share("core", 800, data="e"))
    assert Evidence(old).with_records([share("core", 910)]).records == (old[1], share("core", 910))
