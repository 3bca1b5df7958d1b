"""Promises and audits on the card and the page: every figure from a Record, names never markup."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.report.samples import HOSTILE, family, recall, spec
from tests.report.test_page import Reader, assert_is_harmless

from concertina.measure.answers import Answers
from concertina.measure.promise import CURVE, Promise, curve_of, curve_records, rates_at
from concertina.report import ReportData, card, page
from concertina.report.audited import audit_data, audit_tables, data_promises, promise_notes, promise_table
from concertina.report.card import missing
from concertina.report.confusions import confusions
from concertina.report.figures import rows
from concertina.report.hurt import hurt_classes
from concertina.report.tradeoff import tradeoff_svgs
from concertina.types import Record


def promise(place: int, name: str, confidence: float = 0.95) -> Promise:
    logits = torch.randn(200, 2, generator=torch.Generator().manual_seed(place), dtype=torch.float64)
    answers = Answers(spec(place).text, logits, torch.arange(200) % 2, (name, "other"))
    rates = [replace(record, data="d9") for record in rates_at(answers, 0, 0.25)]
    return Promise(f"p{place}", name, 0, 0.1, 0.25, confidence, 2, 0.3, *rates)


def promised(names: tuple[str, ...] = ("cat",), confidence: float = 0.95) -> ReportData:
    data = family(classes=(*names, "other"))
    made = [promise(place, name, confidence) for place in (1, 0) for name in names]
    records = [*data.records, *(record for one in made for record in one.records())]
    return replace(data, records=records, provenance={"data d9": "cells.npz"})


def with_curves(name: str = "cat") -> ReportData:
    """Return a family with promises whose alternatives were kept."""
    data = promised((name,))
    curves = []
    for place in (0, 1):
        logits = torch.randn(200, 2, generator=torch.Generator().manual_seed(place), dtype=torch.float64)
        answers = Answers(spec(place).text, logits, torch.arange(200) % 2, (name, "other"))
        curves += [replace(record, data="d9") for record in curve_records(answers, 0)]
    return replace(data, records=[*curves, *data.records])


def audited() -> ReportData:
    data = family(classes=("cat", "dog"))
    figures = (("ece", 0.04, ""), ("temperature", 1.5, ""), ("auc", 0.98, "cat"), ("recall", 0.5, "cat"))
    found = [
        Record(
            spec(0).text,
            metric,
            value,
            "factor" if metric == "temperature" else "share",
            77,
            value / 2,
            value * 1.5,
            scope=scope,
            data="d7",
        )
        for metric, value, scope in figures
    ]
    return replace(data, records=[*data.records, *found], provenance={"data d7": "other.npz"})


def test_promises_are_read_back_from_records_smallest_point_first() -> None:
    found = data_promises(promised(("cat", "dog")))
    assert [(one.point, one.class_name) for one in found] == [
        ("p10", "cat"),
        ("p10", "dog"),
        ("p50", "cat"),
        ("p50", "dog"),
    ]
    assert found[0].records() == promise(0, "cat").records()


def test_records_that_do_not_say_all_of_a_promise_are_none() -> None:
    data = promised()
    cut = [record for record in data.records if record.metric != "promise_threshold"]
    assert data_promises(replace(data, records=cut)) == []
    nowhere = [replace(r, scope="cow") if r.metric.startswith("promise") else r for r in data.records]
    assert data_promises(replace(data, records=nowhere)) == []


def test_card_and_page_show_promises_and_what_they_rest_on() -> None:
    text = card(promised())
    assert "## What is promised" in text
    assert "| p10 | cat | 10.0% | 0.25 |" in text
    assert "With 95% confidence all bounds asked for together hold" in text
    assert "Thresholds come from cells.npz (d9)" in text
    read = assert_is_harmless(page(promised()))
    assert "What is promised" in read.text
    assert "p10 cat 10.0% 0.25" in read.text
    assert "What is promised" not in Reader(page(family())).text
    assert "no statement with 95% confidence" in card(promised(confidence=0.0))


def test_audits_are_shown_for_their_own_data() -> None:
    data = audited()
    assert audit_data(data) == "d7"
    text = card(data)
    assert "| p10 | 4.0% | 2.0 to 6.0 | 1.50 | 0.750 to 2.25 |" in text
    assert "On other.npz (d7)." in text
    assert "calibration of its confidences" not in missing(data)
    assert "4.0% 2.0 to 6.0" in assert_is_harmless(page(data)).text


def test_the_tables_of_a_terminal_have_a_line_a_class() -> None:
    data = audited()
    tables = audit_tables(data.points, [r for r in data.records if r.data == "d7"], ("dog", "cat"))
    assert tables.by_class == (
        (
            "p10",
            (
                ["class", "samples", "recall", "95% interval", "AUC", "95% interval"],
                [["cat", "77", "50.0%", "25.0 to 75.0", "98.0%", "49.0 to 147.0"]],
            ),
        ),
    )


def test_what_was_refused_says_why() -> None:
    refused = replace(promise(0, "cat"), refused="precision would be 0.2, under the floor of 0.3")
    assert promise_table([refused])[1][0][3] == "refused"
    assert promise_notes([refused]) == ["cat at p0 is refused: precision would be 0.2, under the floor of 0.3."]


def test_a_protected_class_is_drawn_with_the_promised_threshold_marked() -> None:
    data = with_curves()
    curve = curve_of(data.records, data_promises(data)[0])
    assert [missed for missed, _ in curve] == list(CURVE)
    assert [alarms for _, alarms in curve] == sorted((alarms for _, alarms in curve), reverse=True)
    ((name, svg),) = tradeoff_svgs(data, data_promises(data))
    assert name == "cat"
    assert svg.count("<polyline") == 2
    read = assert_is_harmless(page(data))
    assert "What fewer misses of cat cost" in read.text
    assert "p10: 2" in read.text
    assert "fewer misses" not in assert_is_harmless(page(promised())).text


def confused(name: str = "dog") -> ReportData:
    data = family(classes=("cat", name))
    shares = ((0, "confused", 0.1, f"cat taken for {name}"), (0, "recall", 0.9, "cat"))
    shares += ((2, "confused", 0.02, f"{name} taken for cat"), (2, "recall", 0.98, name))
    found = [
        Record(spec(place).text, metric, value, "share", 50, 0.0, 1.0, scope=scope, data="d7")
        for place, metric, value, scope in shares
    ]
    return replace(data, records=[*data.records, *found])


def test_confusions_are_shown_for_the_smallest_and_the_largest_point() -> None:
    small, large = confusions(confused())
    assert (small.point, large.point, small.classes) == ("p10", "p100", ("cat", "dog"))
    assert [[cell.text if cell else "" for cell in cells] for _, cells in small.lines] == [["90.0%", "10.0%"], ["", ""]]
    assert [cell.heat for cell in small.lines[0][1] if cell] == [0, 5]
    assert "What is taken for what" in assert_is_harmless(page(confused())).text
    assert confusions(replace(confused(), class_names=[str(n) for n in range(21)])) == []
    assert confusions(family()) == []


@pytest.mark.parametrize("name", [name for name in HOSTILE if name])
def test_hostile_names_in_confusions_are_no_markup(name: str) -> None:
    assert assert_is_harmless(page(confused(name))).tags["h3"] == 2


def test_classes_that_lose_most_stand_first_and_those_that_gain_not_at_all() -> None:
    data = family(shares=(0.5, 1.0), classes=("cat", "dog", "cow"))
    values = {("cat", 0): 0.9, ("cat", 1): 0.95, ("dog", 0): 0.5, ("dog", 1): 0.9, ("cow", 0): 0.8, ("cow", 1): 0.7}
    others = [record for record in data.records if record.metric != "recall"]
    data = replace(data, records=[*others, *(recall(place, name, value) for (name, place), value in values.items())])
    found = hurt_classes(data, rows(data))
    assert [(one.name, one.lost, [bar.percent for bar in one.bars]) for one in found] == [
        ("dog", "40.0", [50, 90]),
        ("cat", "5.0", [90, 95]),
    ]
    text = page(data)
    assert "Classes that shrinking hurts most" in text
    assert 'style="width:50%"' in text
    assert [one.name for one in hurt_classes(data, rows(data), limit=1)] == ["dog"]


@pytest.mark.parametrize("name", [name for name in HOSTILE if name])
def test_hostile_class_names_are_no_markup(name: str) -> None:
    data = with_curves(name)
    assert_is_harmless(page(data))
    body = card(data).split("---\n", 2)[2]
    rows = [line for line in body.splitlines() if line.startswith("| p") and "0.25 |" in line]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "<" not in body
