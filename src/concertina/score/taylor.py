"""First-order Taylor: a unit is worth the rise of the loss that its gradient foretells."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from concertina.objective.base import Task
from concertina.score.base import CRITERIA, Criterion, member_tensors
from concertina.types import Batches, Graph


@CRITERIA.register("taylor", source="Molchanov et al., Importance estimation (arXiv:1906.10771)", year=2019)
class Taylor(Criterion):
    """Absolute sum of gradient times weight over all that reads a unit, averaged over small batches.

    Over the columns that read a unit this sum *is* the derivative of the loss by a gate on the unit, so a unit behind
    a normalisation layer is rated rightly (over the rows that make it, the sum is zero by scale invariance). A group
    that nothing reads through a matrix falls back to its other members.
    """

    name = "taylor"
    needs_data = True
    is_loss = True

    def score(
        self, module: nn.Module, graph: Graph, task: Task, batches: Batches, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return group -> (units,) mean absolute first-order changes of the loss."""
        parameters = dict(module.named_parameters())
        totals = {group.name: torch.zeros(group.units) for group in graph.elastic_groups}
        count = 0
        for batch in batches:
            module.zero_grad(set_to_none=True)
            task.loss(module(*task.inputs(batch)), batch).backward()
            products = {name: (p.grad * p).detach() for name, p in parameters.items() if p.grad is not None}
            for group in graph.elastic_groups:
                sides = member_tensors(group, products, ("in",)) or member_tensors(
                    group, products, ("norm", "out", "depthwise", "tied")
                )
                if sides:
                    totals[group.name] += torch.stack([side.float().sum(1) for side in sides]).sum(0).abs()
            count += 1
        module.zero_grad(set_to_none=True)
        return {name: total / max(1, count) for name, total in totals.items()}
