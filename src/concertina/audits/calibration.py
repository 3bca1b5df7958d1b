"""Whether a network is right as often as it says it is."""

from __future__ import annotations

import torch
from torch import Tensor

from concertina.audits.base import AUDITS, Audit, Reference
from concertina.measure.answers import Answers
from concertina.objective.intervals import Z95, ranks
from concertina.types import Record

BINS = 15
DRAWS = 1000
COLDEST, HOTTEST = 0.02, 50.0
"""Temperatures between which the best one is looked for."""


@AUDITS.register(
    "calibration", source="Guo et al. 2017 (arXiv:1706.04599); equal-mass bins: arXiv:1909.10155", year=2019
)
class Calibration(Audit):
    """Expected calibration error, the temperature that would help most, and the error with it.

    The temperature is fitted on all the data given; the error with it is measured by fitting on one half and measuring
    on the other, both ways, so that it is not flattered. Divide logits by the temperature before the softmax.
    """

    metrics = ("ece", "temperature", "ece_tempered")

    def records(self, answers: Answers, reference: Reference) -> list[Record]:  # noqa: ARG002 - one signature for all
        """Return the three figures with their intervals; no temperature for fewer than 4 samples."""
        n = len(answers.labels)
        found = [_error("ece", answers.spec, answers.logits, answers.labels)]
        if n < 4:
            return found
        value, low, high = best_temperature(answers.logits, answers.labels)
        tempered = _tempered_by_halves(answers.logits, answers.labels)
        return [
            *found,
            Record(answers.spec, "temperature", value, "factor", n, low, high),
            _error("ece_tempered", answers.spec, tempered, answers.labels),
        ]


def calibration_error(confidences: Tensor, correct: Tensor, bins: int = BINS) -> tuple[float, float, float]:
    """Return the expected calibration error with its 95% interval, (error, low, high).

    Samples are sorted by confidence into bins of equal counts (equal confidences stay together); the error is the mean
    over the bins of how far the share that is right lies from the mean confidence. That mean of absolute values is
    above 0 by chance alone, which the interval allows for. Its upper end adds what chance can hide: with the true signs
    of the gaps the measured error is no less than the true one plus their noise, which is normal. Its lower end takes
    off what chance can add: the noise itself of bins whose gap is beyond doubt (3 standard errors), its absolute value
    in all others, drawn from their normal distributions.

    Args:
        confidences: Probability of the predicted class, (samples,).
        correct: Whether the prediction is right, (samples,) bool.
        bins: Bins; fewer where there are fewer samples than 2 a bin.

    Source: equal-mass bins, and their noise drawn from normal distributions: Kumar et al. 2019 (arXiv:1909.10155); the
        ends of the interval are ours.

    Example:
        >>> [round(figure, 2) for figure in calibration_error(torch.full((100,), 0.9), torch.arange(100) < 70)]
        [0.2, 0.11, 0.29]
    """
    n = len(confidences)
    gaps = correct.double() - confidences.double()
    count = max(1, min(bins, n // 2))
    _, bin_of = (((ranks(confidences) - 0.5) * count / n).floor()).unique(return_inverse=True)
    sizes = bin_of.bincount().double()
    means = bin_of.bincount(gaps) / sizes
    spread = (bin_of.bincount(gaps.square()) / sizes - means.square()).clamp(min=0)
    weights = sizes / n
    error = float(weights @ means.abs())
    noise = _noise(len(sizes)) * (spread / sizes).sqrt()
    sure = means.abs() > 3 * (spread / sizes).sqrt()
    added = torch.where(sure, noise, noise.abs()) @ weights
    hidden = Z95 * float((weights.square() * spread / sizes).sum()) ** 0.5
    return error, max(0.0, min(error, error - float(added.quantile(0.975)))), min(1.0, error + hidden)


def _noise(bins: int) -> Tensor:
    """Return standard normal draws (draws, bins), the same at each call."""
    return torch.randn(DRAWS, bins, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def best_temperature(logits: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """Return the temperature of the least mean negative log-likelihood with its 95% interval, (value, low, high).

    The likelihood has one optimum in the inverse temperature, which is found by halving; the interval is that of an
    estimating equation (Huber's sandwich), and the ends of the range where the optimum lies there.

    Args:
        logits: (samples, classes) float64.
        labels: (samples,) int64.

    Source: temperature scaling, Guo et al. 2017 (arXiv:1706.04599).

    Example:
        >>> labels = torch.arange(100) % 2
        >>> logits = torch.where(torch.arange(100) < 80, 1, -1)[:, None] * (torch.eye(2)[labels] * 2 - 1) * 5.0
        >>> round(best_temperature(logits.double(), labels)[0], 2)
        7.21
    """
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if float(_slopes(logits, labels, middle)[0].mean()) < 0 else (low, middle)
    inverse = (low + high) / 2
    slopes, curves = _slopes(logits, labels, inverse)
    curve = float(curves.mean())
    if curve <= 0 or inverse * 1.001 > 1 / COLDEST or inverse < 1.001 / HOTTEST:
        return 1 / inverse, COLDEST, HOTTEST
    half = Z95 * float(slopes.square().mean() / len(labels)) ** 0.5 / curve
    least = max(inverse - half, 1 / HOTTEST)
    return 1 / inverse, max(COLDEST, 1 / (inverse + half)), 1 / least


def _slopes(logits: Tensor, labels: Tensor, inverse: float) -> tuple[Tensor, Tensor]:
    """Return first and second derivative of each sample's negative log-likelihood by the inverse temperature."""
    chances = (logits * inverse).softmax(dim=1)
    mean = (chances * logits).sum(1)
    return mean - logits.gather(1, labels[:, None])[:, 0], (chances * logits.square()).sum(1) - mean.square()


def _tempered_by_halves(logits: Tensor, labels: Tensor) -> Tensor:
    """Return logits over the temperature that was fitted on the other half of the samples."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    tempered = logits.clone()
    first, second = order.tensor_split(2)
    for fitted, measured in ((first, second), (second, first)):
        tempered[measured] /= best_temperature(logits[fitted], labels[fitted])[0]
    return tempered


def _error(metric: str, spec: str, logits: Tensor, labels: Tensor) -> Record:
    confidences, predictions = logits.softmax(dim=1).max(dim=1)
    error, low, high = calibration_error(confidences, predictions == labels)
    return Record(spec, metric, error, "share", len(labels), low, high)
