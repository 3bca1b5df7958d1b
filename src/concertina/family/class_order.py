"""A growth order for some classes: the units of a family sorted anew by what those classes need, as a gathered copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from concertina.measure.cost import CostModel
from concertina.nest import Supernet, graph_of, nest
from concertina.types import Core, Scores


def in_own_order(core: Core, supernet: Supernet, scores: Scores) -> Supernet:
    """Return a family of the same full network in another order, with a point for each of the points there were.

    Each point is the longest prefix of the new order that costs no more MACs than its namesake. Its statistics are not
    yet its own: `calibrate_points` comes next.

    Args:
        core: Facts of the network, for its example inputs.
        supernet: The family; it is not changed.
        scores: Importance of its units, in its own order, and of its blocks.

    Raises:
        AnalysisError: Sorting changed what the network computes.
    """
    graph = graph_of(supernet.space)
    made = nest(replace(core, module=free_copy(supernet)), graph, scores, CostModel.of)
    made.permutations = _after(supernet.permutations, made.permutations)
    order, costs = made.order, made.costs
    macs = [costs.macs(order.spec(position)) for position in range(len(order) + 1)]
    for point in supernet.points.values():
        position = max((i for i, cost in enumerate(macs) if cost <= point.macs), default=0)
        taken = {each.position for each in made.points.values()}
        if position in taken and position < len(order):
            continue
        spec = order.spec(position)
        private = {} if position == len(order) else made.fresh_private(spec)
        made.add(made.point(point.name, spec, position), private)
    return made


def free_copy(supernet: Supernet) -> nn.Module:
    """Return the full point's network as a copy through which gradients flow, also where a file was read."""
    return supernet.subnet(supernet.space.full).materialize()  # type: ignore[operator]


def make_trainable(supernet: Supernet, module: nn.Module) -> None:
    """Let each parameter be trained that can be in a network; one read from a file cannot, until told so.

    Args:
        supernet: The family, changed in place.
        module: The network that tells: one of the same architecture, as loaded.
    """
    trainable = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    held: list[Mapping[str, Tensor]] = [dict(supernet.module.named_parameters()), *supernet.private.values()]
    for tensors in held:
        for name, tensor in tensors.items():
            if name in trainable:
                tensor.requires_grad_(trainable[name])


def _after(first: Mapping[str, Tensor], then: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return permutations that have the effect of two, one after the other."""
    return {name: first.get(name, torch.arange(len(order)))[order] for name, order in then.items()}
