"""A model card in Markdown: what the family is, what was measured on what, and what was not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from concertina.report import wording
from concertina.report.audited import (
    audit_data,
    audit_tables,
    audited_records,
    data_promises,
    promise_notes,
    promise_table,
)
from concertina.report.figures import ReportData, Row, rows
from concertina.report.origins import in_words, measured_on, origins
from concertina.report.render import render

MAX_RIGID = 30
CLASSIFICATION = "classification"
"""The task whose networks have a recall per class."""
_AUDITS = {
    "calibration of its confidences": ("ece", "calibration", "brier"),
    "behaviour under corrupted, attacked or shifted inputs": ("robust", "corrupt", "shift", "attack"),
    "differences between groups of people": ("parity", "odds", "fairness", "bias"),
    "how often its answers differ from the core's": ("churn", "agreement", "flip"),
}
"""What people ask of a card -> starts of metric names that answer it."""


def card(data: ReportData) -> str:
    """Return the model card as Markdown; every figure in it is a record or a count.

    Args:
        data: What the card speaks of.
    """
    return _front_matter(data) + render("card.md.j2", _context(data), _finalize, autoescape=False)


def _finalize(value: Any) -> Any:
    return wording.markdown(value) if isinstance(value, str) else value


def _front_matter(data: ReportData) -> str:
    """Return the block that model hubs read; strings are JSON, which is YAML too."""
    licence = next((text for label, text in data.provenance.items() if label in ("licence", "license")), "")
    fields: dict[str, Any] = {"library_name": "concertina", "tags": ["concertina", "elastic", "model-compression"]}
    if licence:
        fields["license"] = wording.shown(licence)
    scheme, _, base = data.provenance.get("source", "").partition(":")
    if scheme in ("hf", "timm") and "/" in base:
        fields["base_model"] = wording.shown(base)
    return "---\n" + "".join(f"{name}: {json.dumps(text)}\n" for name, text in fields.items()) + "---\n"


def _context(data: ReportData) -> Mapping[str, Any]:
    found = rows(data)
    figures = data.figures
    promises = data_promises(data)
    rigid = [(group.name, group.rigid) for group in data.groups if group.rigid]
    return {
        "title": data.title,
        "metric": figures.metric,
        "rows": found,
        "points": len(data.points),
        "settings": figures.settings,
        "has_worst": any(row.worst for row in found),
        "baselines": _comparison(data),
        "measured": _measured(data, found),
        "promises": promise_table(promises) if promises else None,
        "promise_notes": promise_notes(promises),
        "promised_on": [in_words(data, each) for each in dict.fromkeys(promise.data for promise in promises)],
        "audits": audit_tables(data.points, audited_records(data)).overall if audit_data(data) else None,
        "audited_on": in_words(data, audit_data(data)),
        "missing": missing(data),
        "rigid": rigid[:MAX_RIGID],
        "rigid_hidden": len(rigid) - len(rigid[:MAX_RIGID]),
        "elastic": sum(group.elastic for group in data.groups) + sum(block.elastic for block in data.blocks),
        "parts": len(data.groups) + len(data.blocks),
        "provenance": list(data.provenance.items()),
        "origins": origins(data),
    }


def _comparison(data: ReportData) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (series, (share, figure) pairs) in the headline metric's way of writing."""
    figure = wording.percent if data.figures.unit == "share" else wording.number
    return [
        (name, [(wording.percent(share), figure(value)) for share, value in sorted(pairs)])
        for name, pairs in data.baselines.items()
    ]


def _measured(data: ReportData, found: list[Row]) -> list[str]:
    """Return what was measured, a line each."""
    lines, figures = [], data.figures
    counts = sorted({row.quality.n for row in found if row.quality})
    if counts:
        told = measured_on(data) or " or ".join(f"{n:,}" for n in counts) + " samples"
        direction = " Less is better." if figures.metric in wording.LESS_IS_BETTER else ""
        lines.append(f"{wording.title(figures.metric)} on {told}, with 95% intervals.{direction}")
    if figures.classes:
        lines.append(f"Recall of {len(figures.classes)} classes, each on its own samples.")
    for place, setting in enumerate(figures.settings):
        timings = [row.timings[place] for row in found]
        marks = sorted({timing.marks for timing in timings if timing and timing.marks})
        doubt = f" Some figures are {' and '.join(marks)}." if marks else ""
        lines.append(f"Latency, {setting.label}: median and 95th percentile of repeated calls.{doubt}")
    return lines


def missing(data: ReportData) -> list[str]:
    """Return what the records do not tell, a sentence part each.

    Args:
        data: What a card speaks of.
    """
    figures, found = data.figures, rows(data)
    lines = []
    without = [row.name for row in found if row.quality is None]
    if not figures.metric or without:
        lines.append("quality" + (f" of {', '.join(without[:8])}" if figures.metric and without else ""))
    has_classes = data.provenance.get("task", CLASSIFICATION) == CLASSIFICATION
    if has_classes and not any(row.worst for row in found):
        lines.append("recall per class")
    untimed = [row.name for row in found if not any(row.timings)]
    if not figures.settings or untimed:
        lines.append("latency" + (f" of {', '.join(untimed[:8])}" if figures.settings else ""))
    names = {record.metric for record in data.records}
    for question, starts in _AUDITS.items():
        if not any(name.startswith(starts) for name in names):
            lines.append(question)
    return [*lines, "any data but those whose fingerprints are named below"]
