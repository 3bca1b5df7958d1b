"""Second-order Taylor: a unit is worth the rise of the loss that the curvature foretells."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from concertina.objective.base import Task
from concertina.score.base import CRITERIA, Criterion, Reading, readings
from concertina.types import Batches, Graph

DRAWS = 4
"""Labels drawn for each sample: with one, the order of a confident network depends on the seed."""


@CRITERIA.register(
    "hessian",
    source="LeCun et al., Optimal brain damage (NeurIPS 1989); Fisher gates as in Theis et al. (arXiv:1801.05787)",
    year=1989,
)
class Hessian(Criterion):
    """Half the second derivative of the loss by a gate on the unit: what dropping it costs a network at its optimum.

    The second derivative is the diagonal of the Gauss-Newton matrix, which for class probabilities is the Fisher
    information: the mean square, over single samples, of the loss's derivative by a factor on all that is read of the
    unit, with labels drawn from the network's own predictions. For tasks without classes the given labels stand in
    (the empirical Fisher). With ReLU, and norms in eval mode, the outputs are piecewise linear in such a factor, so
    Gauss-Newton leaves nothing out there but kinks. The first-order term is left out: in a trained network its mean
    is near zero, and what remains is noise.

    Use it for a trained core, when channels of different layers have to be weighed against each other; it costs
    no more than a few backward passes a batch.
    """

    name = "hessian"
    needs_data = True
    is_loss = True

    def score(
        self, module: nn.Module, graph: Graph, task: Task, batches: Batches, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return group -> (units,) expected rises of the loss; 0 where no layer reads a group by itself."""
        totals = {group.name: torch.zeros(group.units) for group in graph.elastic_groups}
        count = 0
        for batch in batches:
            with readings(module, graph) as read:
                outputs = module(*task.inputs(batch))
            everything = [(name, reading) for name, some in read.items() for reading in some]
            labellings = _labellings(outputs, batch, generator)
            for labels in labellings:
                loss = task.loss(outputs, (*batch[:-1], labels)) * len(labels)
                gradients = torch.autograd.grad(loss, [r.values for _, r in everything], retain_graph=True)
                for name, gates in _by_gate(everything, gradients).items():
                    totals[name] += 0.5 * gates.square().sum(0) / len(labellings)
            count += len(batch[-1])
        return {name: total / max(1, count) for name, total in totals.items()}


def _by_gate(everything: list[tuple[str, Reading]], gradients: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return group -> (batch, units): each sample's derivative of the loss by a factor on what is read of a unit."""
    gates: dict[str, Tensor] = {}
    for (name, reading), gradient in zip(everything, gradients, strict=True):
        part = reading.by_unit((reading.values * gradient).detach()).sum(2).float().cpu()
        gates[name] = gates[name] + part if name in gates else part
    return gates


def _labellings(outputs: Tensor, batch: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Return labels drawn from outputs (batch, classes), `DRAWS` times; the given ones when these are no classes."""
    labels = batch[-1]
    if labels.dtype != torch.int64 or labels.shape != outputs.shape[:1] or outputs.dim() != 2:
        return [labels]
    chances = outputs.detach().float().softmax(1).cpu()
    if not bool(torch.isfinite(chances).all()):
        return [labels]
    drawn = torch.multinomial(chances, DRAWS, replacement=True, generator=generator).to(labels.device)
    return list(drawn.T)
