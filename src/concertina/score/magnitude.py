"""Magnitude: a unit is worth the size of the weights that make it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from concertina.objective.base import Task
from concertina.score.base import CRITERIA, Criterion, relative_norms
from concertina.types import Batches, Graph


@CRITERIA.register(
    "magnitude-l1", source="Li et al., Pruning filters for efficient ConvNets (arXiv:1608.08710)", year=2016
)
class MagnitudeL1(Criterion):
    """Sum of absolute weights of a unit, over all matrices of its group."""

    name = "magnitude-l1"
    needs_data = False
    is_loss = False

    def score(
        self, module: nn.Module, graph: Graph, task: Task, batches: Batches, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return group -> (units,) mean relative L1 norms."""
        return relative_norms(module, graph, 1)


@CRITERIA.register("magnitude-l2", source="Fang et al., DepGraph group norm (arXiv:2301.12900)", year=2023)
class MagnitudeL2(Criterion):
    """Euclidean norm of a unit's weights, over all matrices of its group."""

    name = "magnitude-l2"
    needs_data = False
    is_loss = False

    def score(
        self, module: nn.Module, graph: Graph, task: Task, batches: Batches, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return group -> (units,) mean relative L2 norms."""
        return relative_norms(module, graph, 2)
