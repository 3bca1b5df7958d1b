"""Put the units of every group in falling importance, once, leaving the function unchanged."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from concertina.analyse.units import reindexed
from concertina.types import Graph


def permute(module: nn.Module, graph: Graph, permutations: Mapping[str, Tensor]) -> None:
    """Reorder the units of each group in place; the network computes what it computed before.

    Args:
        module: The network, changed in place (give it a copy).
        graph: Its verified groups.
        permutations: Group name -> (units,) long tensor: new unit `i` is old unit `permutations[name][i]`.
    """
    tensors = named_tensors(module)
    with torch.no_grad():
        for group in graph.elastic_groups:
            order = permutations.get(group.name)
            if order is None:
                continue
            for member in group.members:
                tensor = tensors[member.tensor]
                index = reindexed(member, order.cpu(), tensor.shape[member.dim])
                tensor.copy_(tensor.index_select(member.dim, index.to(tensor.device)))


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer once, by its first name, batch counters left out."""
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    tensors.update(module.named_buffers())
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
