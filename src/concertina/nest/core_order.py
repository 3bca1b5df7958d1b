"""Tensors between the order of a family's sorted channels and that of the core as it was loaded."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from concertina.analyse.slicing import copy_with_tensors
from concertina.analyse.units import reindexed
from concertina.errors import InputError
from concertina.nest.order import named_tensors
from concertina.nest.plugged import Plug, followed
from concertina.nest.supernet import Supernet
from concertina.types import Space


def plug_in_order(supernet: Supernet, plug: Plug, *, of: str) -> Plug:
    """Return a plug with its tensors put in another order.

    Args:
        supernet: The family.
        plug: In the order of the family, or of the core.
        of: "core" for the order of the core as it was loaded, "family" for that of the sorted channels.

    Raises:
        InputError: The order of the core is not known.
    """
    space = followed(supernet.space, plug)
    return plug.with_tensors(_in_order(space, supernet.permutations, plug.tensors, back=of == "core"))


def as_loaded(supernet: Supernet) -> nn.Module:
    """Return a copy of the whole network with its channels in the order of the core.

    Raises:
        InputError: The order of the core is not known.
    """
    tensors = {name: tensor.detach() for name, tensor in named_tensors(supernet.module).items()}
    ordered = _in_order(supernet.space, supernet.permutations, tensors, back=True)
    return copy_with_tensors(supernet.module, ordered)


def _in_order(
    space: Space, permutations: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, back: bool
) -> dict[str, Tensor]:
    """Return tensors with the units of every dim in the family's order, or back in the core's."""
    found = dict(tensors)
    for dim in space.dims:
        order = permutations.get(dim.target)
        if dim.axis == "width" and not permutations:
            do = "Open the family as a whole, without upto=."
            raise InputError("the order of the core's channels", asked="a family without it", do=do)
        if order is None or dim.is_gate:
            continue
        units = torch.argsort(order.cpu()) if back else order.cpu()
        for member in dim.members:
            if member.tensor in found:
                tensor = found[member.tensor]
                index = reindexed(member, units, tensor.shape[member.dim]).to(tensor.device)
                found[member.tensor] = tensor.index_select(member.dim, index)
    return found
