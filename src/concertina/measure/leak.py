"""How much of an attribute a representation tells: fresh probes learn to read it, and are asked on other samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.errors import DataError
from concertina.objective.intervals import Z95

STEPS, PASSES, BATCH, WIDTH, RATE = 800, 60, 256, 64, 5e-3
"""Training of a probe: so many steps, or as many as make so many passes over few samples."""


@dataclass(frozen=True)
class Leak:
    """What fresh probes read of an attribute on samples that they were not trained on."""

    value: float
    """Balanced accuracy, the mean over probes; guessing gives 1 / values."""
    low: float
    """Lower end of the 95% interval of the samples, or the worst probe where that lies lower."""
    high: float
    """Upper end of the same, or the best probe."""
    n: int
    """Samples asked."""
    each: tuple[float, ...]
    """Every probe's."""


def leak(
    train: Tensor, train_attribute: Tensor, held: Tensor, held_attribute: Tensor, seeds: Sequence[int] = (0, 1, 2)
) -> Leak:
    """Return what fresh probes read of an attribute.

    A probe is a perceptron of two hidden layers of 64; it sees all values equally often.

    Args:
        train: Representation of the samples that probes learn from, (n, features).
        train_attribute: Number of each one's value, (n,) int64, 0 or more.
        held: Representation of other samples, (m, features).
        held_attribute: Their values, (m,).
        seeds: One probe each.

    Raises:
        DataError: A value has no samples on one of the sides.
    """
    values = int(train_attribute.max()) + 1
    for what, attribute in (("train", train_attribute), ("ask", held_attribute)):
        counts = torch.bincount(attribute, minlength=values)
        if len(counts) != values or not bool(counts.all()):
            raise DataError(f"values to {what} a probe on", asked=f"{counts.tolist()} samples", allowed="some of each")
    mean, deviation = train.mean(0), train.std(0).clamp_min(1e-6)
    train, held = (train - mean) / deviation, (held - mean) / deviation
    recalls = []
    for seed in seeds:
        answers = _probed(train, train_attribute, held, values, seed)
        recalls.append([float((answers[held_attribute == v] == v).float().mean()) for v in range(values)])
    each = tuple(sum(row) / values for row in recalls)
    value = sum(each) / len(each)
    half = Z95 * _spread(torch.tensor(recalls).mean(0), torch.bincount(held_attribute))
    return Leak(value, max(0.0, min(value - half, *each)), min(1.0, max(value + half, *each)), len(held), each)


def _spread(recalls: Tensor, counts: Tensor) -> float:
    """Return the standard error of the mean of shares, each of so many samples; adjusted by one of each outcome."""
    shares = (recalls * counts + 1) / (counts + 2)
    return math.sqrt(float((shares * (1 - shares) / (counts + 2)).sum())) / len(counts)


def _probed(train: Tensor, attribute: Tensor, held: Tensor, values: int, seed: int) -> Tensor:
    """Return what one fresh probe says of held-out samples, (m,)."""
    generator = torch.Generator().manual_seed(seed)
    weights = (1 / torch.bincount(attribute).double())[attribute]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        probe = nn.Sequential(
            *(nn.Linear(train.shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()),
            nn.Linear(WIDTH, values),
        )
        optimizer = torch.optim.AdamW(probe.parameters(), RATE)
        steps = max(100, min(STEPS, PASSES * len(train) // BATCH))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        order = torch.multinomial(weights, steps * BATCH, replacement=True, generator=generator).split(BATCH)
        for chosen in order:
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(probe(train[chosen]), attribute[chosen]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return probe(held).argmax(1)
