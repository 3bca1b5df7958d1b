"""What audits found and what is promised, as tables for a terminal, a card and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from concertina.measure.promise import Promise, promises_of
from concertina.report import wording
from concertina.report.figures import CORE, ReportData
from concertina.types import Point, Record

Cells = tuple[list[str], list[list[str]]]
"""Titles of columns, and lines of texts."""
OVERALL = {
    "worst_class_recall": "worst recall",
    "worst_recall_minus_core": "worst against core",
    "worst_recall_minus_full": "worst against full",
    "macro_auc": "AUC, mean",
    "ece": "calibration error",
    "temperature": "temperature",
    "ece_tempered": "error with it",
    "churn": "changed from core",
    "broken_from_core": "right ones broken",
    "changed_from_full": "changed from full",
    "broken_from_full": "right ones broken",
}
"""Metric of the whole -> title of its column."""
BY_CLASS = {"recall": "recall", "recall_minus_core": "minus core", "recall_minus_full": "minus full", "auc": "AUC"}
"""Metric of a class -> title of its column."""
KINDS = (
    "confused",
    "ece",
    "auc",
    "macro_auc",
    "churn",
    "broken_from_core",
    "broken_from_full",
    "changed_from_full",
    "temperature",
)
"""Metrics that only audits give; measuring alone gives recalls and churn against a core too."""

SURE = "With {:.0%} confidence all bounds asked for together hold, on data drawn like that measured."
ON_AVERAGE = "On average over data drawn like that measured each bound holds: this is no statement with 95% confidence."


@dataclass(frozen=True)
class AuditTables:
    """Figures of audits on one set of data."""

    overall: Cells
    """A line a point."""
    by_class: tuple[tuple[str, Cells], ...]
    """Point -> a line a class."""


def audit_tables(points: Sequence[Point], records: Sequence[Record], class_names: Sequence[str] = ()) -> AuditTables:
    """Return the tables of figures that were measured on the same data.

    Args:
        points: The operating points.
        records: Their figures, and the core's; of one set of data.
        class_names: Order of the classes; that of the records where left out.
    """
    found = {(record.spec, record.metric, record.scope): record for record in records}
    specs = [(point.name, point.spec.text) for point in points] + [(CORE, CORE)]
    specs = [(name, spec) for name, spec in specs if any(key[0] == spec for key in found)]
    return AuditTables(_overall(specs, found), tuple(_of_classes(specs, found, class_names)))


def _overall(specs: Sequence[tuple[str, str]], found: dict[tuple[str, str, str], Record]) -> Cells:
    metrics = [metric for metric in OVERALL if any(key[1:] == (metric, "") for key in found)]
    titles = ["point", *(text for metric in metrics for text in (OVERALL[metric], "95% interval"))]
    lines = [
        [wording.shown(name, 40), *(text for metric in metrics for text in _pair(found.get((spec, metric, ""))))]
        for name, spec in specs
    ]
    return titles, lines if metrics else []


def _of_classes(
    specs: Sequence[tuple[str, str]], found: dict[tuple[str, str, str], Record], class_names: Sequence[str]
) -> list[tuple[str, Cells]]:
    scopes = dict.fromkeys(scope for _, metric, scope in found if scope and metric in BY_CLASS)
    order = [name for name in class_names if name in scopes] or list(scopes)
    tables = []
    for name, spec in specs:
        metrics = [metric for metric in BY_CLASS if any((spec, metric, scope) in found for scope in order)]
        if not metrics:
            continue
        lines = []
        for scope in order:
            held = [found.get((spec, metric, scope)) for metric in metrics]
            size = next((record.n for record in held if record is not None), None)
            pairs = (text for record in held for text in _pair(record))
            lines.append([wording.shown(scope, 40), wording.whole(size), *pairs])
        titles = ["class", "samples", *(text for metric in metrics for text in (BY_CLASS[metric], "95% interval"))]
        tables.append((name, (titles, lines)))
    return tables


def _pair(record: Record | None) -> tuple[str, str]:
    return wording.value(record), wording.interval(record) or wording.MISSING


def confusion_table(points: Sequence[Point], records: Sequence[Record], most: int = 3) -> Cells:
    """Return the most frequent confusions of each point, a line each; no line where none was looked for.

    Args:
        points: The operating points.
        records: Their figures, the most frequent confusion of each first.
        most: Lines a point.
    """
    lines = []
    for name, spec in (*((point.name, point.spec.text) for point in points), (CORE, CORE)):
        own = [record for record in records if (record.spec, record.metric) == (spec, "confused")]
        own.sort(key=lambda record: -record.value * record.n)
        lines += [
            [wording.shown(name, 40), wording.shown(record.scope, 80), *_pair(record), wording.whole(record.n)]
            for record in own[:most]
        ]
    return ["point", "most frequent confusions", "share", "95% interval", "samples"], lines


def promise_table(promises: Sequence[Promise]) -> Cells:
    """Return the table of promises, a line each.

    Args:
        promises: In the order of the lines.
    """
    titles = ["point", "class", "bound", "threshold", "missed", "at most", "false alarms", "precision", "95% interval"]
    lines = []
    for one in promises:
        missed, alarms, precision = one.false_negative_rate, one.false_positive_rate, one.precision
        lines.append(
            [
                wording.shown(one.point, 40),
                wording.shown(one.class_name, 40),
                wording.percent(one.bound),
                f"{one.threshold:.4g}" if not one.refused else "refused",
                wording.value(missed),
                wording.percent(missed.high),
                wording.value(alarms),
                *_pair(precision),
                wording.whole(missed.n),
            ]
        )
    return [*titles, "samples"], lines


def promise_notes(promises: Sequence[Promise]) -> list[str]:
    """Return what is to be known of promises: how sure they are, what they rest on, and why some were refused.

    Args:
        promises: Any.
    """
    notes = [f"{one.class_name} at {one.point} is refused: {one.refused}." for one in promises if one.refused]
    given = [one for one in promises if not one.refused]
    if any(one.confidence for one in given):
        notes.append(SURE.format(max(one.confidence for one in given)))
    if any(not one.confidence for one in given):
        notes.append(ON_AVERAGE)
    if given:
        notes.append("A class is found where its softmax probability is at least the threshold.")
    return notes


def data_promises(data: ReportData) -> list[Promise]:
    """Return the promises among the records of a report."""
    return promises_of(data.records, data.points, data.class_names)


def audit_data(data: ReportData) -> str:
    """Return the fingerprint of the data of the newest audit; "" where there was none."""
    return next((record.data for record in reversed(data.records) if record.metric in KINDS), "")


def audited_records(data: ReportData) -> list[Record]:
    """Return the records of the data of the newest audit."""
    fingerprint = audit_data(data)
    return [record for record in data.records if fingerprint and record.data == fingerprint]
