"""report.html: one offline page about a family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from concertina.report import wording
from concertina.report.audited import (
    audit_data,
    audit_tables,
    audited_records,
    data_promises,
    promise_notes,
    promise_table,
)
from concertina.report.confusions import confusions
from concertina.report.figures import ReportData, rows
from concertina.report.hurt import hurt_classes
from concertina.report.origins import in_words, measured_on, origins
from concertina.report.plots import pareto_svg
from concertina.report.plugged import module_table
from concertina.report.recalls import recall_table
from concertina.report.render import render
from concertina.report.tradeoff import tradeoff_svgs

MAX_GROUPS = 120
"""Groups and blocks listed; more are counted."""
MAX_PROVENANCE = 60
MAX_PROMISES = 100


def page(data: ReportData) -> str:
    """Return the report as one HTML page: no scripts, nothing loaded, every name escaped.

    Args:
        data: What to report; whatever has no record shows as a dash.
    """
    return render("page.html.j2", _context(data), _finalize, autoescape=True)


def _finalize(value: Any) -> Any:
    """Make every text that came with a file safe to look at; it is escaped afterwards."""
    return wording.shown(value, 400) if isinstance(value, str) and not isinstance(value, Markup) else value


def _context(data: ReportData) -> Mapping[str, Any]:
    found, promises = rows(data), data_promises(data)
    listed = [(group.name, "units", group.units, group.rigid) for group in data.groups]
    listed += [(block.path, "block", 1, block.rigid) for block in data.blocks]
    listed.sort(key=lambda item: bool(item[3]))
    marks = {mark for row in found for timing in row.timings if timing for mark in timing.marks.split()}
    return {
        "title": data.title,
        "metric": data.figures.metric,
        "less_is_better": data.figures.metric in wording.LESS_IS_BETTER,
        "rows": found,
        "settings": data.figures.settings,
        "has_worst": any(row.worst for row in found),
        "wide": Markup(pareto_svg(data, prefix="wide")),
        "narrow": Markup(pareto_svg(data, width=360, height=320, prefix="narrow")),
        "baselines": list(data.baselines),
        "tradeoffs": [(name, Markup(svg)) for name, svg in tradeoff_svgs(data, promises)],
        "confusions": confusions(data),
        "hurt": hurt_classes(data, found),
        "recalls": recall_table(data, found),
        "promises": promise_table(promises[:MAX_PROMISES]) if promises else None,
        "promise_notes": promise_notes(promises),
        "promised_on": [in_words(data, each) for each in dict.fromkeys(promise.data for promise in promises)],
        "promises_hidden": max(0, len(promises) - MAX_PROMISES),
        "audits": audit_tables(data.points, audited_records(data)).overall if audit_data(data) else None,
        "modules": module_table(data),
        "audited_on": in_words(data, audit_data(data)),
        "parts": listed[:MAX_GROUPS],
        "parts_hidden": len(listed) - len(listed[:MAX_GROUPS]),
        "elastic": sum(not item[3] for item in listed),
        "rigid": sum(bool(item[3]) for item in listed),
        "provenance": list(data.provenance.items())[:MAX_PROVENANCE],
        "origins": origins(data),
        "measured_on": measured_on(data),
        "notes": [note for mark, note in wording.MARKS.items() if mark in marks],
    }
