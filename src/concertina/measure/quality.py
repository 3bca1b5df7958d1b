"""How well a network does on data: overall and per class, with counts and intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from concertina.errors import DataError
from concertina.measure.intervals import paired_interval
from concertina.measure.machine import versions
from concertina.measure.mode import evaluation_mode
from concertina.objective.base import Task
from concertina.objective.intervals import Z95, wilson
from concertina.types import Record


@dataclass(frozen=True)
class Quality:
    """What one network did on one set of data."""

    records: list[Record]
    """Its figures."""
    rows: dict[str, Tensor]
    """What they rest on, (units,) each, in the order of the data; `paired_difference` compares two of them."""


def evaluate(
    module: nn.Module,
    task: Task,
    batches: Iterable[Sequence[Tensor]],
    *,
    spec: str,
    data: str,
    device: str | torch.device = "cpu",
) -> Quality:
    """Run `module` over `batches` in inference mode and return what the task makes of it.

    Args:
        module: The network, on `device`; its mode is as before afterwards.
        task: What the network is for.
        batches: Batches of any sizes, each a tuple of tensors (batch, ...).
        spec: Canonical text of the subnet, "core" for the core; goes into the records.
        data: Fingerprint of the data; goes into the records.
        device: Where the batches are moved to.

    Raises:
        DataError: There is no batch, the task refuses one, or the network answers NaN.
    """
    parts: list[dict[str, Tensor]] = []
    with evaluation_mode(module), torch.inference_mode():
        for number, batch in enumerate(batches):
            task.check(batch)
            moved = tuple(tensor.to(device) for tensor in batch)
            outputs = module(*task.inputs(moved))
            _check_outputs(outputs, number)
            parts.append({name: row.cpu() for name, row in task.observe(outputs, moved).items()})
    if not parts:
        raise DataError("evaluation", asked="no batch", do="Give data with one sample at least.")
    # Outside of inference mode, so that rows are ordinary tensors.
    rows = {name: torch.cat([part[name] for part in parts]).clone() for name in parts[0]}
    found = [replace(record, spec=spec, data=data, versions=versions()) for record in task.summarise(rows)]
    return Quality(found, rows)


def _check_outputs(outputs: object, number: int) -> None:
    if isinstance(outputs, Tensor) and outputs.is_floating_point() and bool(outputs.isnan().any()):
        raise DataError(
            f"outputs of the network on batch {number} are NaN", do="Check the weights and the inputs for NaN."
        )


def churn(predictions: Tensor, reference: Tensor, *, spec: str, data: str) -> Record:
    """Return how often a network answers otherwise than the core, right or wrong, with a 95% interval.

    Args:
        predictions: The network's predicted class of each sample, (samples,).
        reference: The core's, in the same order.
        spec: Canonical text of the subnet; goes into the record.
        data: Fingerprint of the data; goes into the record.

    Raises:
        DataError: The two are empty or of different lengths.

    Source: Milani Fard et al. 2016, Launch and iterate: reducing prediction churn (NeurIPS).

    Example:
        >>> churn(torch.tensor([1, 2, 3, 3]), torch.tensor([1, 2, 3, 0]), spec="", data="").value
        0.25
    """
    if predictions.shape != reference.shape or predictions.dim() != 1 or not len(predictions):
        shapes = f"shapes {tuple(predictions.shape)} and {tuple(reference.shape)}"
        raise DataError("churn", asked=shapes, allowed="(samples,) twice, of one sample or more")
    changed, n = int((predictions.cpu() != reference.cpu()).sum()), len(predictions)
    low, high = wilson(changed, n)
    return Record(spec, "churn", changed / n, "share", n, low, high, versions=versions(), data=data)


def paired_difference(correct_a: Tensor, correct_b: Tensor) -> tuple[float, float, float]:
    """Return (difference, low, high): how much more often `a` is right than `b` on the same units, with 95% interval.

    Args:
        correct_a: Whether each unit is right, (units,) of bool or of 0 and 1.
        correct_b: The same for the other network, in the same order.

    Raises:
        DataError: The two are empty, of different lengths, or hold something else than 0 and 1.

    Source: Bonett & Price 2012 (adjusted Wald interval for paired data); see `intervals.paired_interval`.

    Example:
        >>> paired_difference(torch.tensor([1, 1, 0, 1]), torch.tensor([1, 0, 0, 1]))[0]
        0.25
    """
    if correct_a.shape != correct_b.shape or correct_a.dim() != 1 or not len(correct_a):
        shapes = f"{tuple(correct_a.shape)} and {tuple(correct_b.shape)}"
        raise DataError("paired difference", asked=f"shapes {shapes}", allowed="(units,) twice, of one unit or more")
    for rows in (correct_a, correct_b):
        if not bool(((rows == 0) | (rows == 1)).all()):
            raise DataError("paired difference", asked="other values", allowed="0 and 1 (or False and True)")
    a, b = correct_a.bool().cpu(), correct_b.bool().cpu()
    only_a, only_b, n = int((a & ~b).sum()), int((b & ~a).sum()), len(a)
    return ((only_a - only_b) / n, *paired_interval(only_a, only_b, n))


def paired_ratio(totals_a: Tensor, counts_a: Tensor, totals_b: Tensor, counts_b: Tensor) -> tuple[float, float, float]:
    """Return (difference, low, high) of two ratios of sums over the same units, such as F1, with 95% interval.

    Args:
        totals_a: What the first network's ratio has above the line, (units,).
        counts_a: What it has below, (units,).
        totals_b: The same for the other network, in the same order.
        counts_b: The same for the other network.

    Raises:
        DataError: There are fewer than two units, lengths differ, or a ratio has nothing below the line.

    Source: Cochran 1977, Sampling Techniques, section 6.4, for the difference of two ratio estimates.

    Example:
        >>> one, other = torch.tensor([2.0, 4.0, 0.0]), torch.tensor([2.0, 0.0, 0.0])
        >>> round(paired_ratio(one, torch.full((3,), 4.0), other, torch.full((3,), 4.0))[0], 3)
        0.333
    """
    rows = [row.detach().double().cpu() for row in (totals_a, counts_a, totals_b, counts_b)]
    if len({row.shape for row in rows}) != 1 or rows[0].dim() != 1 or len(rows[0]) < 2:
        shapes = ", ".join(str(tuple(row.shape)) for row in rows)
        raise DataError("paired ratios", asked=f"shapes {shapes}", allowed="(units,) four times, of two units or more")
    sums = [float(row.sum()) for row in rows]
    if not (sums[1] > 0 and sums[3] > 0):
        raise DataError("paired ratios", asked="nothing below the line", allowed="a sum above 0")
    a, b, n = sums[0] / sums[1], sums[2] / sums[3], len(rows[0])
    parts = (rows[0] - a * rows[1]) / sums[1] - (rows[2] - b * rows[3]) / sums[3]
    half = Z95 * math.sqrt(float(parts.square().sum()) * n / (n - 1))
    return a - b, a - b - half, a - b + half
