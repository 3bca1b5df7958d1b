"""Which bytes a network gains when it grows from one spec to another, and in which order they lie.

A dim's members say all there is to know: a member sizes one side of one tensor, a gate member (`dim == -1`)
says whether the tensor is there at all. Nothing here knows what a channel, a block, a rank or a bit-plane is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType

import numpy as np

from concertina.errors import DtypeError, ShapeError, SpecError
from concertina.save.tensors import Array, TensorInfo
from concertina.types import Range, Space, SubnetSpec, extents, length_of, pieces, ranges_left

Extent = tuple[tuple[Range, ...], ...] | None
"""What a tensor keeps of each side under a spec; None when it is not there."""


@dataclass(frozen=True)
class Box:
    """A rectangular part of one tensor."""

    tensor: int
    """Index of the tensor."""
    shape: tuple[int, ...]
    """Its length along each side."""
    index: tuple[slice | EllipsisType, ...]
    """What cuts it out of the whole tensor, as a view even where there are no sides."""

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def grow(tensor: int, old: Extent, new: Extent) -> list[Box]:
    """Return the boxes that a tensor gains between two extents: disjoint, complete, in file order.

    Box `d` spans what is new on sides before `d`, what is gained on side `d`, what is old on sides after it; where a
    side is held in several ranges, it falls into one box for each.

    Raises:
        SpecError: The tensor would shrink.
    """
    if new is None and old is None:
        return []
    if new is None or (old is not None and any(_gained(b, a) for a, b in zip(old, new, strict=True))):
        raise SpecError("growth", asked=f"a tensor that shrinks from {old} to {new}", allowed="larger specs only")
    if old is None:
        return _boxes(tensor, new)
    boxes = []
    for side in range(len(new)):
        boxes += _boxes(tensor, (*new[:side], _gained(old[side], new[side]), *old[side + 1 :]))
    return boxes


def _gained(old: Sequence[Range], new: Sequence[Range]) -> tuple[Range, ...]:
    """Return the positions of `new` that `old` lacks, as rising ranges."""
    found = []
    for start, stop in new:
        gone = [(max(start, a), min(stop, b)) for a, b in old if a < stop and b > start]
        found += [
            (start + a, start + b) for a, b in ranges_left(stop - start, [(a - start, b - start) for a, b in gone])
        ]
    return tuple(found)


def _boxes(tensor: int, sides: Sequence[Sequence[Range]]) -> list[Box]:
    return [
        Box(tensor, tuple(side.stop - side.start for side in whole), (*whole, ...))
        for whole, _ in pieces(sides)
        if all(side.stop > side.start for side in whole)
    ]


class Layout:
    """Where the bytes of every subnet lie, for one list of tensors and one space.

    Args:
        tensors: All tensors at full size, in the order of the manifest.
        space: The dims whose members size or switch them.
    """

    def __init__(self, tensors: Sequence[TensorInfo], space: Space) -> None:
        self.tensors, self.space = tuple(tensors), space
        self._shapes = {tensor.name: tensor.shape for tensor in self.tensors}
        sizes = [tensor.numpy_dtype.itemsize for tensor in self.tensors]
        self._order = sorted(range(len(sizes)), key=lambda i: -sizes[i])

    def shapes(self, spec: SubnetSpec) -> tuple[tuple[int, ...] | None, ...]:
        """Return the shape of every tensor under `spec`, None for those that are not there; raises like `extents`."""
        found = self.extents(spec)
        return tuple(None if extent is None else tuple(map(length_of, extent)) for extent in found)

    def room(self, spec: SubnetSpec | None) -> tuple[tuple[int, ...] | None, ...]:
        """Return the shapes that arrays need to be filled up to `spec`; None for the full size.

        A tensor with a side of several runs is held at full size, so that positions stay what they are.
        """
        if spec is None:
            return tuple(self._shapes.values())
        cut = zip(self._shapes.items(), self.shapes(spec), strict=True)
        return tuple(full if shape is not None and name in self.space.in_runs else shape for (name, full), shape in cut)

    def extents(self, spec: SubnetSpec | None) -> tuple[Extent, ...]:
        """Return what every tensor keeps under `spec`, None for those that are not there.

        Args:
            spec: A spec of the space; None for "nothing yet".

        Raises:
            SpecError: The spec is none of the space.
        """
        if spec is None:
            return (None,) * len(self.tensors)
        found = extents(self.space, self.space.check(spec), self._shapes)
        return tuple(found.get(tensor.name) for tensor in self.tensors)

    def size(self, spec: SubnetSpec | None) -> int:
        """Return the bytes of all tensors under `spec`."""
        shapes = zip(self.tensors, self.shapes(spec), strict=True) if spec is not None else ()
        return sum(math.prod(shape) * info.numpy_dtype.itemsize for info, shape in shapes if shape is not None)

    def boxes(self, before: SubnetSpec | None, after: SubnetSpec) -> list[Box]:
        """Return what is gained from `before` (None: nothing) to `after`, in file order.

        Blocks lie by item size, largest first, then in tensor order, then side by side of a tensor.

        Raises:
            SpecError: `after` is not at least `before` in every dim.
        """
        old, new = self.extents(before), self.extents(after)
        changed = (i for i in self._order if old[i] != new[i])
        return [box for i in changed for box in grow(i, old[i], new[i])]

    def gather(self, tensors: Mapping[str, Array], before: SubnetSpec | None, after: SubnetSpec) -> bytes:
        """Return the bytes gained from `before` to `after`, cut out of `tensors`.

        Args:
            tensors: Arrays by name, each at least as large as its extent under `after`.
            before: Smaller spec; None for nothing.
            after: Larger spec.

        Raises:
            SpecError: `after` is not at least `before`.
            ShapeError: An array is too small.
        """
        return b"".join(self._part(tensors, box).tobytes() for box in self.boxes(before, after))

    def scatter(self, data: bytes, tensors: Mapping[str, Array], before: SubnetSpec | None, after: SubnetSpec) -> None:
        """Write the bytes gained from `before` to `after` into their places in `tensors`.

        Args:
            data: What `gather` returned for the same specs.
            tensors: Arrays by name, each at least as large as its extent under `after`.
            before: Smaller spec; None for nothing.
            after: Larger spec.

        Raises:
            ShapeError: `data` has another length than the specs say, or an array is too small.
            DtypeError: A BOOL byte is neither 0 nor 1.
        """
        boxes = self.boxes(before, after)
        total = sum(box.count * self.tensors[box.tensor].numpy_dtype.itemsize for box in boxes)
        if len(data) != total:
            raise ShapeError("stage", asked=f"{len(data)} bytes", allowed=f"{total} bytes")
        offset = 0
        for box in boxes:
            info = self.tensors[box.tensor]
            self._part(tensors, box)[...] = from_bytes(data, info, offset, box.shape)
            offset += box.count * info.numpy_dtype.itemsize

    def _part(self, tensors: Mapping[str, Array], box: Box) -> Array:
        info = self.tensors[box.tensor]
        whole = tensors[info.name]
        part = whole[box.index]
        if part.shape != box.shape:
            raise ShapeError(f"tensor {info.name!r}", asked=f"{whole.shape}", allowed=f"room for {box.index}")
        if part.dtype != info.numpy_dtype:
            raise DtypeError(f"tensor {info.name!r}", asked=str(part.dtype), allowed=str(info.numpy_dtype))
        return part


def from_bytes(data: bytes, info: TensorInfo, offset: int, shape: tuple[int, ...]) -> Array:
    """Return a read-only array of `shape` over `data` from `offset` on, little-endian, last side fastest.

    Raises:
        DtypeError: A BOOL byte is neither 0 nor 1.
    """
    count = math.prod(shape)
    if info.dtype == "BOOL" and np.frombuffer(data, np.uint8, count, offset).max(initial=0) > 1:
        raise DtypeError(f"tensor {info.name!r}", asked="a BOOL byte over 1", allowed="0 or 1")
    return np.frombuffer(data, info.numpy_dtype, count, offset).reshape(shape)
