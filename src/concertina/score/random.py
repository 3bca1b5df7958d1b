"""Random: the control that every other criterion has to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from concertina.objective.base import Task
from concertina.score.base import CRITERIA, Criterion
from concertina.types import Batches, Graph


@CRITERIA.register("random", source="ours")
class Random(Criterion):
    """A number between 0 and 1 for every unit, from the seed."""

    name = "random"
    needs_data = False
    is_loss = False

    def score(
        self, module: nn.Module, graph: Graph, task: Task, batches: Batches, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return group -> (units,) uniform random numbers."""
        return {group.name: torch.rand(group.units, generator=generator) for group in graph.elastic_groups}
