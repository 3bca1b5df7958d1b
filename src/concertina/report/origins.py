"""Where the figures of a report were measured."""

from __future__ import annotations

from concertina.report.figures import ReportData
from concertina.types import data_key

MAX_TEXTS = 8


def origins(data: ReportData) -> list[tuple[str, list[str]]]:
    """Return (label, distinct texts) of machines, versions, data and seeds that the records name.

    What the provenance says already under the same label is not said again.

    Args:
        data: What the report is made from.
    """
    found = {
        "machine": [r.machine for r in data.records],
        "versions": [r.versions for r in data.records],
        "data fingerprint": [in_words(data, r.data) for r in data.records],
        "seeds": [str(r.seed) for r in data.records if r.seed is not None],
    }
    distinct = {label: [text for text in dict.fromkeys(texts) if text] for label, texts in found.items()}
    return [
        (f"{label} of the figures" if label in data.provenance else label, texts[:MAX_TEXTS])
        for label, texts in distinct.items()
        if texts and texts != [data.provenance.get(label)]
    ]


def measured_on(data: ReportData) -> str:
    """Return in words what data the headline figures were measured on; "" where nobody said."""
    return data.provenance.get(data_key(data.figures.data), "")


def in_words(data: ReportData, fingerprint: str) -> str:
    """Return a fingerprint, after the words that the provenance has for it.

    Args:
        data: What the report is made from.
        fingerprint: `Record.data`; "" gives "".
    """
    words = data.provenance.get(data_key(fingerprint), "") if fingerprint else ""
    return f"{words} ({fingerprint})" if words else fingerprint
