"""Runs of positions: what is left of a tensor's side when units go that own only parts of it.

Most sides follow one dim from end to end, and a subnet keeps a prefix. A layer that reads a concatenation, or makes
queries, keys and values in one matrix, has sides of several runs, each of which keeps a prefix of its own.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from concertina.types.network import Member
from concertina.types.space import Dim, Space, SubnetSpec

Range = tuple[int, int]
"""A first position, and the one after the last."""
Piece = tuple[tuple[slice, ...], tuple[slice, ...]]
"""Where a rectangular part of a subnet's tensor lies in the whole tensor, and where in the subnet's."""


def dropped_range(member: Member, units: int, kept: int) -> Range:
    """Return the positions that a side loses when a member keeps its first `kept` of `units` units.

    Example:
        >>> dropped_range(Member("w", 0, "out", positions=2, start=10, of=20), 4, 3)
        (16, 18)
    """
    return member.start + kept * member.positions, member.start + units * member.positions


def ranges_left(length: int, dropped: Iterable[Range]) -> tuple[Range, ...]:
    """Return what a side of `length` positions keeps without some ranges that do not overlap.

    Example:
        >>> ranges_left(10, [(6, 8), (2, 4)]), ranges_left(4, [])
        (((0, 2), (4, 6), (8, 10)), ((0, 4),))
    """
    left, at = [], 0
    for start, stop in sorted(gone for gone in dropped if gone[0] < gone[1]):
        if start > at:
            left.append((at, start))
        at = stop
    return (*left, (at, length)) if at < length else tuple(left)


def kept_ranges(dims: Iterable[Dim], spec: SubnetSpec) -> dict[tuple[str, int], tuple[Range, ...]]:
    """Return (tensor, side) -> what it keeps under `spec`, for the sides that follow some of `dims` in runs."""
    dropped: defaultdict[tuple[str, int, int], list[Range]] = defaultdict(list)
    for dim in dims:
        for member in dim.members:
            if member.of:
                gone = dropped_range(member, dim.original, spec[dim.name])
                dropped[member.tensor, member.dim, member.of].append(gone)
    return {(name, side): ranges_left(length, gone) for (name, side, length), gone in dropped.items()}


def extents(
    space: Space, spec: SubnetSpec, shapes: Mapping[str, Sequence[int]]
) -> dict[str, tuple[tuple[Range, ...], ...]]:
    """Return what tensors keep of each side under a spec, those left out that are not there at all.

    Args:
        space: The dims.
        spec: A canonical spec of the space.
        shapes: Tensor name -> its full shape; tensors of the space that are not named are passed over.
    """
    dropped: dict[str, list[list[Range]]] = {name: [[] for _ in shape] for name, shape in shapes.items()}
    for dim in space.dims:
        for member in dim.members:
            if member.tensor in dropped and member.dim >= 0:
                dropped[member.tensor][member.dim].append(dropped_range(member, dim.original, spec[dim.name]))
            elif not spec[dim.name] and member.dim < 0:
                dropped.pop(member.tensor, None)
    return {name: tuple(map(ranges_left, shapes[name], gone)) for name, gone in dropped.items()}


def length_of(ranges: Iterable[Range]) -> int:
    """Return how many positions there are in some ranges."""
    return sum(stop - start for start, stop in ranges)


def pieces(sides: Sequence[Sequence[Range]]) -> Iterator[Piece]:
    """Yield the rectangular parts that a tensor keeps, in order of their positions.

    Args:
        sides: What each side keeps, rising.

    Example:
        >>> [inside for _, inside in pieces([[(0, 2), (4, 5)]])]
        [(slice(0, 2, None),), (slice(2, 3, None),)]
    """
    placed = []
    for ranges in sides:
        stops = list(itertools.accumulate(stop - start for start, stop in ranges))
        inside = [slice(end - (stop - start), end) for (start, stop), end in zip(ranges, stops, strict=True)]
        placed.append([(slice(*each), own) for each, own in zip(ranges, inside, strict=True)])
    for parts in itertools.product(*placed):
        yield tuple(whole for whole, _ in parts), tuple(own for _, own in parts)
