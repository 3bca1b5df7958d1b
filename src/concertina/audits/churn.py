"""How often a smaller network answers otherwise than the core."""

from __future__ import annotations

from concertina.audits.base import AUDITS, Audit, Reference
from concertina.measure.answers import Answers
from concertina.measure.quality import churn
from concertina.objective.intervals import wilson
from concertina.types import Record


@AUDITS.register("churn", source="Milani Fard et al. 2016; negative flips: arXiv:2011.09161")
class Churn(Audit):
    """Share of answers that differ from the core's, and of its right answers that have become wrong."""

    metrics = ("churn", "changed_from_full", "broken_from_REFERENCE")

    def records(self, answers: Answers, reference: Reference) -> list[Record]:
        """Return both shares, of all samples and of those that the reference gets right; none for the reference."""
        if reference.spec == answers.spec:
            return []
        changed = churn(answers.predictions, reference.predictions, spec=answers.spec, data="")
        name = "churn" if reference.kind == "core" else "changed_from_full"
        right = reference.predictions == answers.labels
        broken, n = int((right & ~answers.correct).sum()), int(right.sum())
        found = [Record(answers.spec, name, changed.value, "share", changed.n, changed.low, changed.high)]
        if n:
            low, high = wilson(broken, n)
            found.append(Record(answers.spec, f"broken_from_{reference.kind}", broken / n, "share", n, low, high))
        return found
