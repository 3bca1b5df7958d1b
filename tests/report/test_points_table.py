"""The table for terminals, and the figures it is made from."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console
from tests.report.samples import MACHINE, accuracy, family, hostile, latency, point, spec

from concertina.report import points_lines, points_table
from concertina.report import wording as say
from concertina.report.figures import CORE, Figures, ReportData, core_macs, rows
from concertina.types import Record


def printed(data: ReportData, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(points_table(data.points, data.records, title="T [b]"))
    return out.getvalue()


def test_plain_lines_are_aligned_and_hold_every_figure() -> None:
    lines = points_lines(family().points, family().records)
    assert lines[0].split("  ")[0] == "point"
    assert " ".join(lines[1].split()) == "p10 100 k 10.0% 8.00 k 32.0 kB 81.5% 79.5 to 82.5 dog 71.9% 1.30 / 1.95"
    assert len({len(line) for line in lines}) == 1


def test_the_terminal_shows_names_as_they_are() -> None:
    data = family()
    named = [point(0, 0.1, "[red]p10[/red]"), *data.points[1:]]
    text = printed(ReportData("", named, data.records))
    assert "[red]p10[/red]" in text
    assert "T [b]" in text


def test_hostile_names_send_no_control_characters() -> None:
    text = "\n".join(points_lines(hostile().points, hostile().records)) + printed(hostile())
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
