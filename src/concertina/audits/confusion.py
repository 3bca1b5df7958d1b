"""Which classes a network takes for which others."""

from __future__ import annotations

from concertina.audits.base import AUDITS, Audit, Reference
from concertina.measure.answers import Answers
from concertina.measure.confusion import pair
from concertina.objective.intervals import wilson
from concertina.types import Record

MOST = 400
"""Most pairs of classes kept for one network: those with the most samples, all pairs of up to 20 classes."""


@AUDITS.register("confusion", source="ours; intervals of Wilson 1927")
class Confusion(Audit):
    """Share of a class's samples that are taken for another class, for every pair of classes where that happens."""

    metrics = ("confused",)

    def records(self, answers: Answers, reference: Reference) -> list[Record]:  # noqa: ARG002 - one signature for all
        """Return a share for each pair that occurs, the most frequent first."""
        names, size = answers.class_names, len(answers.class_names)
        counts = (answers.labels * size + answers.predictions).bincount(minlength=size * size).view(size, size)
        totals = counts.sum(1)
        wrong = counts.clone().fill_diagonal_(0).flatten()
        found = []
        for place in wrong.argsort(descending=True, stable=True)[: min(MOST, int((wrong > 0).sum()))].tolist():
            own, other = divmod(place, size)
            part, n = int(wrong[place]), int(totals[own])
            low, high = wilson(part, n)
            scope = pair(names[own], names[other])
            found.append(Record(answers.spec, "confused", part / n, "share", n, low, high, scope=scope))
        return found
