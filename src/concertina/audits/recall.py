"""Recall of every class, and which classes shrinking hurts most."""

from __future__ import annotations

from torch import Tensor

from concertina.audits.base import AUDITS, Audit, Reference
from concertina.measure.answers import Answers
from concertina.measure.quality import paired_difference
from concertina.objective.intervals import wilson
from concertina.types import Record


@AUDITS.register("recall", source="ours; intervals of Wilson 1927 and Bonett & Price 2012", methods=("002-01",))
class Recall(Audit):
    """Recall of every class, the worst of them, and what each class has lost against the core.

    The loss is measured on the same samples, so its interval is narrower than those of the two recalls would suggest.
    """

    metrics = ("recall", "worst_class_recall", "recall_minus_REFERENCE", "worst_recall_minus_REFERENCE")

    def records(self, answers: Answers, reference: Reference) -> list[Record]:
        """Return a recall and a difference for every class that has samples, and the lowest of both."""
        recalls = [self._recall(answers, place) for place in answers.present]
        found = [*recalls, _lowest(recalls, "worst_class_recall")]
        if reference.spec == answers.spec:
            return found
        right, metric = reference.predictions == answers.labels, f"recall_minus_{reference.kind}"
        changes = [self._change(answers, right, place, metric) for place in answers.present]
        return [*found, *changes, _lowest(changes, f"worst_{metric}")]

    def _recall(self, answers: Answers, place: int) -> Record:
        correct = answers.correct[answers.labels == place]
        hits, n = int(correct.sum()), len(correct)
        low, high = wilson(hits, n)
        return Record(answers.spec, "recall", hits / n, "share", n, low, high, scope=answers.class_names[place])

    def _change(self, answers: Answers, right: Tensor, place: int, metric: str) -> Record:
        own = answers.labels == place
        value, low, high = paired_difference(answers.correct[own], right[own])
        n, scope = int(own.sum()), answers.class_names[place]
        return Record(answers.spec, metric, value, "share", n, low, high, scope=scope)


def _lowest(records: list[Record], metric: str) -> Record:
    """Return the lowest of figures by class as one of the whole; its interval and count are its own class's."""
    worst = min(records, key=lambda record: record.value)
    return Record(worst.spec, metric, worst.value, worst.unit, worst.n, worst.low, worst.high)
