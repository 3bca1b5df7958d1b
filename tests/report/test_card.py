"""The model card: what was measured, on how much, and what was not; names are never markup."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.report.samples import HOSTILE, MACHINE, accuracy, family, hostile, latency, point

from concertina.objective import TASKS
from concertina.report import ReportData, card
from concertina.report.card import missing
from concertina.report.wording import LESS_IS_BETTER, markdown
from concertina.types import Group, Record


def test_the_card_holds_the_table_of_points() -> None:
    text = card(family())
    assert "| point | MACs | share | parameters | size | accuracy | 95% interval | worst class |" in text
    assert "| p10 | 100 k | 10.0% | 8.00 k | 32.0 kB | 81.5% | 79.5 to 82.5 | dog 71.9% | 1.30 / 1.95 |" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert len({line.count("|") for line in lines}) == 1


def test_the_card_says_on_how_much_and_where_it_was_measured() -> None:
    text = card(family())
    assert "- Accuracy on 500 samples, with 95% intervals." in text
    assert "- Recall of 2 classes, each on its own samples." in text
    assert "- Latency, batch=1 threads=1: median and 95th percentile of repeated calls.\n" in text
    assert "- machine: Some CPU; 2 cores" in text
    assert "- data fingerprint: d1" in text


def test_machine_and_versions_are_told_once() -> None:
    lines = card(family(provenance={"machine": MACHINE, "versions": "concertina 0; torch 3"})).splitlines()
    assert [line for line in lines if "machine" in line] == [f"- machine: {markdown(MACHINE)}"]
    assert "- versions of the figures: concertina 0; torch 2; python 3" in lines


def test_the_card_says_what_was_not_measured() -> None:
    told = missing(family())
    assert "calibration of its confidences" in told
    assert "latency" not in told
    assert all(f"- {line}\n" in card(family()) for line in told)
    bare = missing(ReportData("a", [point(0, 1.0)], []))
    assert bare[:3] == ["quality", "recall per class", "latency"]


def test_what_was_measured_of_some_points_only_is_named() -> None:
    data = family()
    kept = [r for r in data.records if r.spec != data.points[1].spec.text]
    assert missing(replace(data, records=kept))[:2] == ["quality of p50", "latency of p50"]


def test_an_audit_that_was_done_is_no_longer_missing() -> None:
    data = family()
    audited = [*data.records, Record(data.points[0].spec.text, "ece", 0.02, "share", 500, data="d1")]
    assert "calibration of its confidences" not in missing(replace(data, records=audited))


def test_doubtful_latency_is_called_so() -> None:
    data = family(shares=(1.0,))
    doubtful = [accuracy(0, 0.9), *latency(0, 2.0, "batch=1 threads=1 unresolved")]
    text = card(replace(data, records=doubtful))
    assert "| 2.00 / 3.00 unresolved |" in text
    assert "Some figures are unresolved." in text


def test_hubs_read_licence_and_library_from_the_front() -> None:
    front = card(family(provenance={"licence": 'MIT "or" so'})).split("---\n")[1]
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert json.loads(fields["license"]) == 'MIT "or" so'
    assert json.loads(fields["library_name"]) == "concertina"


def test_hostile_names_are_no_markup() -> None:
    text = card(hostile())
    body = text.split("---\n", 2)[2]
    assert "<" not in body
    assert not any(char in text for char in "\u202e\x00\x1b\ud800")
    assert "\\](javascript" in text
    assert text.count("](") == text.count("\\](")
    assert "{{ 7 * 7 }}".replace("{", "\\{").replace("}", "\\}").replace("*", "\\*") in text
    rows = [line for line in body.splitlines() if line.startswith("| ") and "\\|" not in line]
    assert len({line.count("|") for line in rows}) == 1


def test_rivals_rigid_groups_and_an_empty_family_have_their_words() -> None:
    groups = [Group(f"g{n}", 4, (), rigid="inert") for n in range(40)] + [Group("free", 4, ())]
    text = card(family(groups=groups, baselines={"naive": [(0.5, 0.25), (0.1, 0.125)]}))
    assert "- naive: 12.5% at 10.0%, 25.0% at 50.0% of the MACs" in text
    assert "1 of 41 parts of the network are elastic. Kept whole:" in text
    assert "- and 10 more" in text
    assert "no operating point yet" in card(ReportData("a", [], []))


@pytest.mark.parametrize("name", HOSTILE[:5])
def test_no_name_breaks_the_front(name: str) -> None:
    front = card(family(provenance={"licence": name or "x"})).split("\n---\n")[0]
    assert len(front.splitlines()) == 4


def test_the_card_names_the_network_of_the_hub_that_it_was_made_from() -> None:
    assert 'base_model: "org/name"' in card(family(provenance={"source": "hf:org/name"}))
    assert "base_model" not in card(family(provenance={"source": "hf:folder"}))
    assert "base_model" not in card(family(provenance={"source": "zoo:mlp"}))


def test_figures_of_which_less_is_better_are_said_to_be_so() -> None:
    data = family(shares=(1.0,), provenance={"task": "language"})
    records = [replace(accuracy(0, 5.5), metric="perplexity", unit="choices")]
    text = card(replace(data, records=records))
    assert "Perplexity on 500 samples, with 95% intervals. Less is better." in text
    assert "recall per class" not in text
    assert "Less is better" not in card(family())


def test_which_metrics_are_better_the_lower_they_are_is_what_their_tasks_say() -> None:
    metrics = [entry.part.metric for entry in TASKS]
    assert {metric.name for metric in metrics if metric.direction == "min"} == set(LESS_IS_BETTER)
