"""Which dims size which tensor: the members of a space, looked up by tensor."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor, nn

from concertina.errors import SpecError
from concertina.nest.order import named_tensors
from concertina.types import Dim, Member, Space

Part = tuple[Fraction, tuple[str, ...]]
"""A share of a tensor's elements, and the dims that size it, sorted; twice where a dim sizes two sides."""


@dataclass(frozen=True)
class Sides:
    """How a tensor follows the dims of a space."""

    parts: tuple[Part, ...] = ((Fraction(1), ()),)
    """The whole tensor, in one part unless a side follows several dims in runs."""
    gates: tuple[str, ...] = ()
    """Names of the gates without which it is not there, sorted."""
    reads: frozenset[str] = frozenset()
    """Those of `dims` that it only takes in and does not give on."""

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dims that size its sides, sorted."""
        return tuple(sorted({name for _, names in self.parts for name in names}))

    def spread(self, amount: int) -> list[tuple[int, tuple[str, ...]]]:
        """Return an amount that grows with the tensor as (what is due to a part, the dims and gates that size it)."""
        return [(int(amount * share), (*names, *self.gates)) for share, names in self.parts]


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
        parts=_parts([(dim, member) for dim, member in pairs if member.dim >= 0]),
        gates=tuple(sorted(dim.name for dim, member in pairs if member.dim < 0)),
        reads=frozenset(n for n, role in sizes if role == "in") - {n for n, role in sizes if role != "in"},
    )


def _parts(pairs: list[tuple[Dim, Member]]) -> tuple[Part, ...]:
    """Return the parts of a tensor: side by side, one part for the runs of each dim, one for what no dim sizes."""
    parts: dict[tuple[str, ...], Fraction] = {(): Fraction(1)}
    for side in sorted({member.dim for _, member in pairs}):
        shares: defaultdict[tuple[str, ...], Fraction] = defaultdict(Fraction)
        for dim, member in pairs:
            if member.dim == side:
                shares[dim.name,] += _share(dim, member)
        shares[()] = 1 - sum(shares.values(), Fraction())
        products: defaultdict[tuple[str, ...], Fraction] = defaultdict(Fraction)
        for names, share in parts.items():
            for more, part in shares.items():
                products[tuple(sorted((*names, *more)))] += share * part
        parts = products
    return tuple((share, names) for names, share in parts.items() if share)


def _share(dim: Dim, member: Member) -> Fraction:
    return Fraction(dim.original * member.positions, member.of) if member.of else Fraction(1)


def _check_side(dim: Dim, member: Member, tensor: Tensor) -> None:
    if member.dim < 0:
        return
    length = tensor.shape[member.dim] if member.dim < tensor.dim() else 0
    owned = dim.original * member.positions
    if (member.of or owned) != length or member.start + owned > length:
        raise SpecError(
            f"dim {dim.name!r} does not fit side {member.dim} of {member.tensor!r}, of shape {tuple(tensor.shape)}",
            asked=f"{dim.original} units of {member.positions}",
        )
