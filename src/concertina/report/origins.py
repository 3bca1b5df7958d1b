"""Where the figures of a report were measured."""

from __future__ import annotations

from concertina.report.figures import ReportData

MAX_TEXTS = 8


def origins(data: ReportData) -> list[tuple[str, list[str]]]:
    """Return (label, distinct texts) of machines, versions, data and seeds that the records name.

    Args:
        data: What the report is made from.
    """
    found = {
        "machine": [r.machine for r in data.records],
        "versions": [r.versions for r in data.records],
        "data fingerprint": [r.data for r in data.records],
        "seeds": [str(r.seed) for r in data.records if r.seed is not None],
    }
    distinct = {label: [text for text in dict.fromkeys(texts) if text] for label, texts in found.items()}
    return [(label, texts[:MAX_TEXTS]) for label, texts in distinct.items() if texts]
