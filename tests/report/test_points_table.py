"""The table for terminals, and the figures it is made from."""

from __future__ import annotations

import math

import pytest
from tests.report.samples import MACHINE, accuracy, family, hostile, latency, point, spec

from concertina.report import points_notes, points_table
from concertina.report import wording as say
from concertina.report.figures import CORE, Figures, ReportData, core_macs, rows
from concertina.types import Record


def test_a_line_a_point_holds_what_was_measured() -> None:
    titles, lines = points_table(family().points, family().records)
    assert titles[:7] == ["point", "MACs", "share", "accuracy", "95% interval", "samples", "worst class"]
    assert lines[0][:7] == ["p10", "100,000", "10.0%", "81.5%", "79.5 to 82.5", "500", "dog: 71.9%"]
    assert (titles[7:], lines[0][7:]) == (["ms, median", "95% interval", "ms, p95"], ["1.30", "1.27 to 1.33", "1.95"])
    assert points_notes(family().records) == ["ms: batch=1 threads=1"]


def test_what_was_not_measured_has_no_column_or_a_dash() -> None:
    data = family()
    assert points_table(data.points, [])[0] == ["point", "MACs", "share"]
    some = [record for record in data.records if record.spec != data.points[0].spec.text]
    assert points_table(data.points, some)[1][0][3:] == [say.MISSING] * 7


def test_latency_that_is_not_to_be_trusted_says_why() -> None:
    records = latency(0, 2.0, "batch=1 threads=1 unresolved")
    assert points_table([point(0, 1.0)], records)[1][0][3:] == ["2.00", "unresolved", "3.00"]
    assert any(note.startswith("unresolved: the machine was too busy") for note in points_notes(records))


def test_hostile_names_send_no_control_characters() -> None:
    data = hostile()
    titles, lines = points_table(data.points, data.records)
    text = "".join([*titles, *(cell for line in lines for cell in line), *points_notes(data.records)])
    assert not any(char in text for char in "\u202e\x00\x1b\ud800")


def test_of_several_figures_for_the_same_the_last_counts() -> None:
    figures = Figures([accuracy(0, 0.5), accuracy(0, 0.9)])
    assert figures.quality(spec(0).text).value == 0.9


def test_figures_of_other_data_are_not_put_beside() -> None:
    old = [accuracy(place, 0.5, data="old") for place in range(3)]
    new = [accuracy(place, 0.9, data="new") for place in range(2)]
    figures = Figures([*old, *new])
    assert figures.data == "new"
    assert [figures.quality(spec(place).text) is None for place in range(3)] == [False, False, True]
    assert Figures([*old, *new], data="old").quality(spec(0).text).value == 0.5


def test_figures_of_rivals_are_not_those_of_points() -> None:
    rival = Record(spec(0).text, "accuracy", 0.1, "share", 500, scope="naive", data="d1")
    figures = Figures([accuracy(0, 0.9), rival])
    assert figures.quality(spec(0).text).value == 0.9
    assert figures.metric == "accuracy"


def test_costs_and_losses_are_no_headline() -> None:
    text = spec(0).text
    records = [Record(text, name, 1.0, "x") for name in ("macs", "params", "size_bytes", "loss", "latency_control")]
    assert Figures(records).metric == ""
    assert Figures([*records, Record(text, "spearman", 0.8, "correlation")]).metric == "spearman"


def test_latencies_of_two_machines_stand_in_two_columns() -> None:
    records = [*latency(0, 1.0), *latency(0, 5.0, machine="Other; 8 cores")]
    figures = Figures(records)
    assert [setting.label for setting in figures.settings] == [
        f"batch=1 threads=1 on {MACHINE}",
        "batch=1 threads=1 on Other; 8 cores",
    ]
    assert [timing.median.value for timing in figures.timings(spec(0).text)] == [1.0, 5.0]


def test_a_latency_to_be_trusted_goes_before_a_newer_one_that_is_not() -> None:
    figures = Figures([*latency(0, 1.0), *latency(0, 9.0, "batch=1 threads=1 unresolved")])
    (timing,) = figures.timings(spec(0).text)
    assert (timing.median.value, timing.p95.value, timing.marks) == (1.0, 1.5, "")


def test_the_worst_class_is_named_where_classes_were_measured() -> None:
    data = family()
    assert data.figures.worst(data.points[0].spec.text).name == "dog"
    only_overall = Figures([Record(spec(0).text, "worst_class_recall", 0.4, "share", 20)])
    assert only_overall.worst(spec(0).text).record.value == 0.4
    assert only_overall.worst("other") is None


def test_rows_rise_in_cost_and_the_core_comes_last() -> None:
    data = family()
    mixed = ReportData("", data.points[::-1], [*data.records, Record(CORE, "accuracy", 0.9, "share", 5, data="d1")])
    assert [row.name for row in rows(mixed)] == ["p10", "p50", "p100", CORE]
    assert rows(mixed)[-1].macs == core_macs(mixed.points) == 1_000_000


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (say.number(math.nan), "nan"),
        (say.number(-0.00123), "-0.00123"),
        (say.number(99.95), "100"),
        (say.number(1e300), "1e+300"),
        (say.count(10**400, "B"), "over 999 TB"),
        (say.count(999_600), "1.00 M"),
        (say.count(0), "0"),
        (say.percent(0.99961), "100.0%"),
        (say.percent(None), "–"),
        (say.value(None), "–"),
        (say.interval(Record("", "spearman", 0.5, "correlation", low=0.41, high=0.593)), "0.410 to 0.593"),
        (say.interval(Record("", "loss", 0.5, "nats")), ""),
        (say.title("worst_class_recall"), "Worst class recall"),
    ],
)
def test_numbers_are_written_for_people(written: str, text: str) -> None:
    assert written == text
