"""How well the probability of a class ranks its samples above all others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from concertina.audits.base import AUDITS, Audit, Reference
from concertina.measure.answers import Answers
from concertina.objective.intervals import Z95, ranks, wilson
from concertina.types import Record


@AUDITS.register("auc", source="DeLong et al. 1988; ranks of Mann & Whitney 1947", year=1988)
class Auc(Audit):
    """Area under the ROC curve of each class against the rest, and its mean over the classes.

    The share of pairs, one sample of the class and one of another, in which the first has the larger probability of the
    class; equal ones count half. Intervals rest on DeLong's variance, on the scale of log-odds (Pepe 2003); that of the
    mean adds up what each sample contributes to all classes, since the same samples stand in each. Where every pair is
    in order the interval is Wilson's of the rarer side, as that variance is nothing.
    """

    metrics = ("auc", "macro_auc")

    def records(self, answers: Answers, reference: Reference) -> list[Record]:  # noqa: ARG002 - one signature for all
        """Return a figure for every class that has samples, and their mean; none where all samples are of one class."""
        if len(answers.present) < 2:
            return []
        parts = [area(answers.probabilities[:, place], answers.labels == place) for place in answers.present]
        found = [
            self._record(answers, "auc", value, pull, int((answers.labels == place).sum()), answers.class_names[place])
            for place, (value, pull) in zip(answers.present, parts, strict=True)
        ]
        mean = sum(value for value, _ in parts) / len(parts)
        pull = torch.stack([pull for _, pull in parts]).mean(0)
        rarest = min(record.n for record in found)
        whole = self._record(answers, "macro_auc", mean, pull, rarest, "")
        return [*found, whole]

    def _record(self, answers: Answers, metric: str, value: float, pull: Tensor, rarer: int, scope: str) -> Record:
        spread = float(pull.square().mean() / len(pull)) ** 0.5
        low, high = _interval(value, spread) if 0 < value < 1 and spread > 0 else wilson(value * rarer, rarer)
        n = rarer if scope else len(pull)
        return Record(answers.spec, metric, value, "share", n, low, high, scope=scope)


def _interval(value: float, spread: float) -> tuple[float, float]:
    """Return the interval of a share above 0 and below 1, worked out on the scale of its log-odds."""
    centre, half = math.log(value / (1 - value)), Z95 * spread / (value * (1 - value))
    low, high = (1 / (1 + math.exp(min(700.0, -end))) for end in (centre - half, centre + half))
    return low, high


def area(scores: Tensor, own: Tensor) -> tuple[float, Tensor]:
    """Return the area under the ROC curve, and what each sample pulls it up or down by.

    Args:
        scores: What samples are ranked by, (samples,).
        own: Which of them are of the class, (samples,) bool; some are and some are not.

    Returns:
        The area; and its influence values, (samples,), whose mean square over the number of samples is its variance.

    Source: DeLong et al. 1988; by ranks as in Sun & Xu 2014.

    Example:
        >>> area(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([False, False, True, True]))[0]
        0.875
    """
    scores = scores.double()
    together, n = ranks(scores), len(scores)
    num_own = int(own.sum())
    num_other = n - num_own
    above = (together[own] - ranks(scores[own])) / num_other
    below = 1 - (together[~own] - ranks(scores[~own])) / num_own
    value = float(above.mean())
    pull = torch.empty(n, dtype=torch.float64)
    pull[own], pull[~own] = (above - value) * (n / num_own), (below - value) * (n / num_other)
    return value, pull
