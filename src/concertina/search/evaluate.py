"""The real evaluation of a spec: its own statistics from calibration data, then the metric on held-out data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concertina.errors import DataError
from concertina.load.data import TensorData, batches
from concertina.measure.quality import evaluate
from concertina.nest import Supernet, inherited_private
from concertina.objective.base import Task
from concertina.train import calibrate
from concertina.types import SubnetSpec

BATCH = 128


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Measures specs of one family on fixed samples; it can be sent to other processes."""

    supernet: Supernet
    task: Task
    calibration: tuple[tuple[Tensor, ...], ...]
    """Batches that statistics come from, as the network is to see them."""
    held_out: tuple[tuple[Tensor, ...], ...]
    """Batches that the metric is measured on."""

    def __call__(self, spec: SubnetSpec) -> float:
        """Return the task's metric of the subnet with statistics of its own.

        Raises:
            DataError: The metric is not finite.
        """
        start = inherited_private(self.supernet, spec)
        private = calibrate(self.supernet, spec, start, self.task, self.calibration)
        quality = evaluate(self.supernet.subnet(spec, private), self.task, self.held_out, spec=spec.text, data="")
        wanted = self.task.metric.name
        value = next(record.value for record in quality.records if record.metric == wanted and not record.scope)
        if not math.isfinite(value):
            raise DataError(f"{wanted} of subnet {spec.digest}", asked=str(value), allowed="a finite number")
        return value


def evaluator(
    supernet: Supernet, task: Task, data: tuple[TensorData, TensorData], samples: tuple[int, int], seed: int
) -> Evaluator:
    """Return the evaluator of a family.

    Args:
        supernet: The family.
        task: What it is for.
        data: Data for calibration, augmented here as in training, and held-out data.
        samples: How many samples of each are used at most, chosen by the seed.
        seed: Chooses samples and augmentation.
    """
    generator = torch.Generator().manual_seed(seed)
    calibration, held_out = (_sample(part, most, generator) for part, most in zip(data, samples, strict=True))
    seen = tuple(task.augment(batch, generator) for batch in batches(calibration, BATCH))
    return Evaluator(supernet, task, seen, tuple(batches(held_out, BATCH)))


def halves(data: TensorData, seed: int) -> tuple[TensorData, TensorData]:
    """Return two halves of the data, drawn by the seed: for calibration, and to measure on.

    Raises:
        DataError: There are fewer than four samples.
    """
    if len(data) < 4:
        raise DataError("data for a search", asked=f"{len(data)} samples", allowed="4 or more")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    middle = len(data) // 2
    return data.subset(order[:middle]), data.subset(order[middle:])


def _sample(data: TensorData, most: int, generator: torch.Generator) -> TensorData:
    if len(data) <= most:
        return data
    return data.subset(torch.randperm(len(data), generator=generator)[:most])


def fingerprints(parts: Sequence[Sequence[tuple[Tensor, ...]]]) -> list[str]:
    """Return the fingerprint of each list of batches."""
    return [TensorData([torch.cat(column) for column in zip(*part, strict=True)]).fingerprint for part in parts]
