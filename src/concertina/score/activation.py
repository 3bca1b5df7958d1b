"""Activation: a unit is worth how much of what its readers compute changes with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from concertina.objective.base import Task
from concertina.score.base import CRITERIA, Criterion, Reading, readings, relative_norms
from concertina.types import Batches, Graph


@CRITERIA.register(
    "activation", source="An et al., Fluctuation-based adaptive structured pruning (arXiv:2312.11983)", year=2023
)
class Activation(Criterion):
    """Variance of what is read of a unit times the squared weights that read it, as a share of each reader's total.

    The variance rather than the mean square, because a constant part of the input can be made up for by a bias, and is
    by the calibration of the normalisation behind it.

    Use it with inputs that have no labels: neither loss nor gradient is needed, only forward passes.
    """

    name = "activation"
    needs_data = True
    is_loss = False

    def score(
        self, module: nn.Module, graph: Graph, task: Task, batches: Batches, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return group -> (units,) mean shares of the readers' variance; L2 magnitude where a group has no reader."""
        moments: dict[str, dict[tuple[int, str], _Moments]] = {group.name: {} for group in graph.elastic_groups}
        for batch in batches:
            with torch.no_grad(), readings(module, graph) as read:
                module(*task.inputs(batch))
            for name, some in read.items():
                for reading in some:
                    key = (id(reading.layer), reading.member.tensor)
                    moments[name].setdefault(key, _Moments()).add(reading)
        scores = relative_norms(module, graph, 2)
        for name, readers in moments.items():
            shares = [part / part.sum().clamp_min(1e-30) for part in (reader.scores() for reader in readers.values())]
            if shares:
                scores[name] = torch.stack(shares).mean(0)
        return scores


class _Moments:
    """Running sums over what one layer reads, per position of its matrix."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._squares = self._weights = torch.zeros(())

    def add(self, reading: Reading) -> None:
        """Take in one call."""
        rows = reading.by_unit(reading.values).double().cpu()
        positions = reading.member.positions
        rows = rows.reshape(*rows.shape[:2], positions, -1)
        self._count += rows.shape[0] * rows.shape[3]
        self._sum = self._sum + rows.sum((0, 3))
        self._squares = self._squares + rows.square().sum((0, 3))
        weights = reading.weights().double().cpu()
        self._weights = weights.reshape(len(weights), positions, -1).square().sum(2)

    def scores(self) -> Tensor:
        """Return variance times squared weights of each unit, (units,)."""
        variance = self._squares / self._count - (self._sum / self._count).square()
        return (variance.clamp_min(0) * self._weights).sum(1).float()
