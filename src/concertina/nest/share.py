"""What a subnet has of the family's tensors, to read and to write: pieces that are views, whatever the layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from concertina.nest.order import named_tensors
from concertina.nest.supernet import Supernet
from concertina.types import Space, SubnetSpec, extents, pieces


@dataclass(frozen=True, eq=False)
class Share:
    """A subnet's share of one whole tensor."""

    shape: tuple[int, ...]
    """Shape that the subnet's tensor has."""
    views: tuple[Tensor, ...]
    """Rectangular pieces of the whole tensor; most shares have one."""
    places: tuple[tuple[slice, ...], ...]
    """Where in the subnet's tensor each piece lies."""

    def read(self) -> Tensor:
        """Return the subnet's tensor: a view where it is one piece, else a copy."""
        if len(self.views) == 1:
            return self.views[0]
        gathered = self.views[0].new_empty(self.shape) if self.views else torch.empty(self.shape)
        for view, place in zip(self.views, self.places, strict=True):
            gathered[place] = view
        return gathered

    def add(self, values: Tensor) -> None:
        """Add values of the subnet's shape to the whole tensor."""
        for view, place in zip(self.views, self.places, strict=True):
            view.add_(values[place])


class Gathered:
    """The shared tensors that subnets hold copies of, and whether they are as they were."""

    def __init__(self, supernet: Supernet) -> None:
        names = supernet.space.in_runs
        self._tensors = [t for name, t in named_tensors(supernet.module).items() if name in names] if names else []
        self._version = self._count()

    @property
    def changed(self) -> bool:
        """Whether one of them was written to since this was made."""
        return self._count() != self._version

    def _count(self) -> int:
        return sum(tensor._version for tensor in self._tensors)  # noqa: SLF001 - torch's own count of writes


def subnet_shares(space: Space, spec: SubnetSpec, tensors: Mapping[str, Tensor]) -> dict[str, Share]:
    """Return the share that the subnet `spec` has of each tensor, those left out of which it has none.

    Args:
        space: The dims.
        spec: A canonical spec of the space.
        tensors: Tensor name -> whole tensor, without gradient.

    Example:
        >>> from concertina.types import Dim, Member
        >>> runs = (Member("w", 0, "out", 1, 0, 6), Member("w", 0, "out", 1, 3, 6))
        >>> space = Space((Dim("width:a", "width", "a", (1, 2, 3), runs),))
        >>> subnet_shares(space, SubnetSpec.of({"width:a": 2}), {"w": torch.arange(6)})["w"].read()
        tensor([0, 1, 3, 4])
    """
    shares = {}
    for name, sides in extents(space, spec, {name: tuple(tensor.shape) for name, tensor in tensors.items()}).items():
        parts = list(pieces(sides))
        shape = tuple(sum(stop - start for start, stop in side) for side in sides)
        shares[name] = Share(shape, tuple(tensors[name][whole] for whole, _ in parts), tuple(own for _, own in parts))
    return shares
