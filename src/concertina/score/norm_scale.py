"""Normalisation scale: a unit is worth the factor its normalisation layer gives it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from concertina.objective.base import Task
from concertina.score.base import CRITERIA, Criterion, member_tensors, relative_norms
from concertina.types import Batches, Graph


@CRITERIA.register("norm-scale", source="Liu et al., Network slimming (arXiv:1708.06519)", year=2017)
class NormScale(Criterion):
    """Absolute scale of the normalisation layers over a unit; L2 magnitude where a group has none."""

    name = "norm-scale"
    needs_data = False
    is_loss = False

    def score(
        self, module: nn.Module, graph: Graph, task: Task, batches: Batches, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return group -> (units,) mean absolute scales."""
        scores = relative_norms(module, graph, 2)
        scales = {name: p.detach() for name, p in module.named_parameters() if p.dim() == 1 and name.endswith("weight")}
        for group in graph.elastic_groups:
            sides = [side.abs().float().mean(1) for side in member_tensors(group, scales, ("norm",))]
            if sides:
                scores[group.name] = torch.stack(sides).mean(0)
        return scores
