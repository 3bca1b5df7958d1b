"""Units of a group put in another order: on tensors, and as seen in what modules give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from concertina.analyse.events import is_close
from concertina.types import Group, Member


def unit_positions(units: Tensor, positions: int) -> Tensor:
    """Return the positions that units own, run by run; (n,) -> (n * positions,).

    Example:
        >>> unit_positions(torch.tensor([2, 0]), 2)
        tensor([4, 5, 0, 1])
    """
    return (units[:, None] * positions + torch.arange(positions)).reshape(-1)


def reindexed(member: Member, order: Tensor, length: int) -> Tensor:
    """Return where each position of a side of `length` comes from when a member's units are put in another order.

    Example:
        >>> reindexed(Member("w", 0, "out", 2, start=1, of=6), torch.tensor([1, 0]), 6)
        tensor([0, 3, 4, 1, 2, 5])
    """
    index = torch.arange(length)
    index[member.start : member.start + len(order) * member.positions] = member.start + unit_positions(
        order, member.positions
    )
    return index


def cycles(group: Group, generator: torch.Generator, count: int = 2) -> Iterator[Tensor]:
    """Yield random orders (units,) of a group, each one single cycle, so that every unit moves."""
    for _ in range(count):
        row = torch.randperm(group.units, generator=generator)
        order = torch.empty_like(row)
        order[row] = row.roll(1)
        yield order


def moved(
    tensors: Mapping[str, Tensor], members: Iterable[Member], order: Tensor, without: Member | None = None
) -> dict[str, Tensor]:
    """Return the tensors that change when the units of some members are put in another order.

    Args:
        tensors: Tensor name -> tensor.
        members: Tensor sides to reorder.
        order: (units,) permutation: new unit `i` is old unit `order[i]`.
        without: One member that stays as it is.
    """
    values: dict[str, Tensor] = {}
    for member in members:
        tensor = values.get(member.tensor, tensors[member.tensor].detach())
        if member != without:
            tensor = taken(tensor, member.dim, reindexed(member, order, tensor.shape[member.dim]))
        values[member.tensor] = tensor
    return values


def taken(tensor: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return the slices of a tensor on the CPU at positions `index` (n,) of a dim; NumPy is the faster one at it.

    Example:
        >>> taken(torch.tensor([[1, 2, 3]]), 1, torch.tensor([2, 0]))
        tensor([[3, 1]])
    """
    return torch.from_numpy(np.take(tensor.detach().numpy(), index.numpy(), axis=dim))


def reordered(order: Tensor, batch: int) -> Callable[[str, Tensor, Tensor], bool]:
    """Return a rule for `first_difference`: equal tensors, or equal but for the order along one dim, may stand."""

    def may_stand(_path: str, new: Tensor, old: Tensor) -> bool:
        """Return whether outputs are as they were, but for the order of units."""
        return is_close(new, old) or is_reordered(new, old, order, batch) or _has_same_slices(new, old)

    return may_stand


def is_reordered(new: Tensor, old: Tensor, order: Tensor, batch: int) -> bool:
    """Return whether `new` is `old` with the units along one of its dims in another order.

    Args:
        new: Any tensor.
        old: A tensor, (batch, ...), or with the batch and the units in one dim, (batch * units, ...).
        order: (units,) new unit `i` is old unit `order[i]`.
        batch: Entries in the batch.
    """
    if new.shape != old.shape:
        return False
    for dim, size in enumerate(old.shape):
        for outer in {1, batch}:
            if size and size % (outer * len(order)) == 0:
                run = size // (outer * len(order))
                blocks = old.unflatten(dim, (outer, len(order) * run))
                if is_close(new, blocks.index_select(dim + 1, unit_positions(order, run)).flatten(dim, dim + 1)):
                    return True
    return False


def _has_same_slices(new: Tensor, old: Tensor) -> bool:
    """Return whether `new` is `old` with its slices along a dim other than the first in some order.

    That is how units look that own runs of a dim. Slices are told apart by a random projection.
    """
    if new.shape != old.shape or not old.is_floating_point() or not old.numel():
        return False
    for dim in range(1, old.dim()):
        pairs = [tensor.movedim(dim, 0).reshape(old.shape[dim], -1) for tensor in (new, old)]
        weights = torch.randn(pairs[0].shape[1], generator=torch.Generator().manual_seed(0), dtype=old.dtype)
        if is_close(*((slices @ weights).sort().values for slices in pairs)):
            return True
    return False


def is_bias(tensor: str) -> bool:
    """Return whether a tensor's name says that it is a bias."""
    return tensor.endswith("bias")
