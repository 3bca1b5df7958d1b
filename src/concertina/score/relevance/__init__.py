"""Relevance: a unit is worth how much of the network's decisions went through it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.objective.base import Task
from concertina.score.base import CRITERIA, Criterion, readings, relative_norms
from concertina.score.relevance.propagate import Balance, Propagation
from concertina.types import Batches, Graph

__all__ = ["Balance", "Propagation", "Relevance"]


@CRITERIA.register(
    "relevance", source="Yeom et al., Pruning by explaining (arXiv:1912.08881)", methods=("001-22",), year=2019
)
class Relevance(Criterion):
    """Absolute relevance of what is read of a unit, by layer-wise relevance propagation from the right answer.

    Relevance starts as the logit of each sample's class (as all outputs where there are no classes), flows back by
    the rules of `Propagation`, and is summed over what each reader of a unit received; the absolute values are summed
    over samples and readers.

    Use it when there is little calibration data and nothing will be trained afterwards. A network with layers that
    have no rule is refused by name.
    """

    name = "relevance"
    needs_data = True
    is_loss = False

    def score(
        self, module: nn.Module, graph: Graph, task: Task, batches: Batches, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return group -> (units,) absolute relevance; L2 magnitude where no layer reads a group by itself.

        Raises:
            AnalysisError: Relevance cannot pass a layer; the text names its path and type.
        """
        scores = relative_norms(module, graph, 2)
        totals: dict[str, Tensor] = {}
        for batch in batches:
            inputs = [x.clone().requires_grad_() if x.is_floating_point() else x for x in task.inputs(batch)]
            with readings(module, graph) as read, Propagation(module):
                outputs = module(*inputs)
            everything = [(name, reading) for name, some in read.items() for reading in some]
            wanted, start = [r.values for _, r in everything], _start(outputs, batch[-1])
            received = torch.autograd.grad(outputs, wanted, start, materialize_grads=True)  # 0: what makes attention
            for (name, reading), coefficients in zip(everything, received, strict=True):
                by_unit = reading.by_unit((reading.values * coefficients).detach()).sum(2).abs().sum(0)
                totals[name] = totals.get(name, torch.zeros(len(by_unit))) + by_unit.float().cpu()
        return scores | totals


def _start(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return coefficients of outputs (batch, ...): 1 for each sample's class, or all outputs where there is none."""
    if labels.dtype == torch.int64 and outputs.dim() == 2 and labels.shape == outputs.shape[:1]:
        return F.one_hot(labels, outputs.shape[1]).to(outputs)
    return outputs.detach()
