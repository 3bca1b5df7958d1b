"""Which dims size which tensor: the members of a space, looked up by tensor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from concertina.errors import SpecError
from concertina.nest.order import named_tensors
from concertina.types import Dim, Member, Space


@dataclass(frozen=True)
class Sides:
    """How a tensor follows the dims of a space."""

    dims: tuple[str, ...] = ()
    """Names of the dims that size its sides, sorted; twice where a dim sizes two sides."""
    gates: tuple[str, ...] = ()
    """Names of the gates without which it is not there, sorted."""
    reads: frozenset[str] = frozenset()
    """Those of `dims` that it only takes in and does not give on."""


def tensor_sides(module: nn.Module, space: Space) -> dict[str, Sides]:
    """Return tensor name -> how it follows the dims, for every parameter and buffer of the full network.

    Raises:
        SpecError: A dim names a tensor that the module lacks, or a side of another length.

    Example:
        >>> dim = Dim("width:a", "width", "a", (1, 3), (Member("weight", 1, "in"),))
        >>> tensor_sides(nn.Linear(3, 2), Space((dim,)))["weight"].dims
        ('width:a',)
    """
    tensors = named_tensors(module)
    found: dict[str, list[tuple[Dim, Member]]] = {name: [] for name in tensors}
    for dim in space.dims:
        for member in dim.members:
            if member.tensor not in tensors:
                raise SpecError(f"dim {dim.name!r} names a tensor that the network lacks", asked=member.tensor)
            _check_side(dim, member, tensors[member.tensor])
            found[member.tensor].append((dim, member))
    return {name: _sides(pairs) for name, pairs in found.items()}


def _sides(pairs: list[tuple[Dim, Member]]) -> Sides:
    sizes = [(dim.name, member.role) for dim, member in pairs if member.dim >= 0]
    return Sides(
        dims=tuple(sorted(name for name, _ in sizes)),
        gates=tuple(sorted(dim.name for dim, member in pairs if member.dim < 0)),
        reads=frozenset(n for n, role in sizes if role == "in") - {n for n, role in sizes if role != "in"},
    )


def _check_side(dim: Dim, member: Member, tensor: Tensor) -> None:
    if member.dim < 0:
        return
    if member.dim >= tensor.dim() or tensor.shape[member.dim] != dim.original * member.positions:
        raise SpecError(
            f"dim {dim.name!r} does not fit side {member.dim} of {member.tensor!r}, of shape {tuple(tensor.shape)}",
            asked=f"{dim.original} units of {member.positions}",
        )
