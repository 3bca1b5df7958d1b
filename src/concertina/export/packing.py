"""How the tensors of several networks lie in one file, so that a smaller tensor is read from inside a larger one.

A tensor that holds the first rows of a larger one is a byte prefix of it. Where another side is the shorter one, the
larger tensor is stored with that side first. Where two sides are shorter, rows are read and then cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
ALIGNMENT = 64
"""Every stored tensor begins at a multiple of this many bytes."""


@dataclass(frozen=True)
class Place:
    """Where one tensor of one network lies."""

    offset: int
    num_bytes: int
    """Bytes to read from there."""
    stored: tuple[int, ...]
    """Shape of what is read, sides in the order they are stored in."""
    sides: tuple[int, ...]
    """Stored side i is side `sides[i]` of the tensor."""
    shape: tuple[int, ...]
    """Shape of the tensor; where a stored side is longer, its beginning counts."""

    @property
    def is_prefix(self) -> bool:
        """Whether the bytes are the tensor's own, with nothing to turn or cut."""
        return self.stored == self.shape and self.sides == tuple(range(len(self.shape)))


@dataclass(frozen=True, eq=False)
class Packing:
    """One file's worth of tensors."""

    places: Mapping[str, Mapping[str, Place]]
    """Network -> tensor -> where it lies."""
    blobs: tuple[tuple[int, Array], ...]
    """(offset, array) in the order of the file."""
    num_bytes: int
    """Bytes of the file."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the file's bytes, piece by piece."""
        position = 0
        for offset, array in self.blobs:
            yield bytes(offset - position)
            yield array.tobytes()
            position = offset + array.nbytes


@dataclass(eq=False)
class _Host:
    """A tensor that is stored, and those that lie inside it."""

    array: Array
    guests: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)

    def holds(self, array: Array) -> bool:
        """Return whether `array` is the corner of this tensor where all indices begin."""
        whole = self.array
        if whole.dtype != array.dtype or whole.ndim != array.ndim:
            return False
        if any(larger < smaller for larger, smaller in zip(whole.shape, array.shape, strict=True)):
            return False
        if not whole.ndim:
            return whole.tobytes() == array.tobytes()
        corner = whole[tuple(slice(0, size) for size in array.shape)]
        return corner[:1].tobytes() == array[:1].tobytes() and corner.tobytes() == array.tobytes()

    def front(self) -> int:
        """Return the side to store first: the one that guests have shorter, or the first of several."""
        shorter = [
            side for side, size in enumerate(self.array.shape) if any(shape[side] < size for _, _, shape in self.guests)
        ]
        return shorter[0] if shorter else 0


def pack(networks: Mapping[str, Mapping[str, Array]]) -> Packing:
    """Lay out the tensors of several networks, every value once where one tensor holds another.

    What holds what is found by comparing bytes, whatever the tensors are called.

    Args:
        networks: Network -> tensor name -> values.

    Example:
        >>> whole = np.arange(6.0, dtype=np.float32).reshape(3, 2)
        >>> packing = pack({"small": {"w": whole[:2]}, "full": {"w": whole}})
        >>> packing.num_bytes, packing.places["small"]["w"].num_bytes, packing.places["small"]["w"].is_prefix
        (24, 16, True)
        >>> turned = pack({"small": {"w": whole[:, :1]}, "full": {"w": whole}}).places["small"]["w"]
        >>> turned.num_bytes, turned.stored, turned.sides
        (12, (1, 3), (1, 0))
    """
    hosts = _hosts(networks)
    places: dict[str, dict[str, Place]] = {network: {} for network in networks}
    blobs, position = [], 0
    for host in hosts:
        front = host.front()
        sides = (front, *(side for side in range(host.array.ndim) if side != front))
        blob = np.ascontiguousarray(host.array.transpose(sides)) if host.array.ndim else host.array
        offset = -(-position // ALIGNMENT) * ALIGNMENT
        for network, name, shape in host.guests:
            stored = (shape[front], *blob.shape[1:]) if shape else ()
            num_bytes = int(np.prod(stored, dtype=np.int64)) * blob.itemsize
            places[network][name] = Place(offset, num_bytes, stored, sides[: len(shape)], shape)
        blobs.append((offset, blob))
        position = offset + blob.nbytes
    return Packing(places, tuple(blobs), position)


def _hosts(networks: Mapping[str, Mapping[str, Array]]) -> list[_Host]:
    """Return the tensors to store with what lies inside each, larger ones first found, in a stable order."""
    listed = [(network, name, array) for network, tensors in networks.items() for name, array in tensors.items()]
    listed.sort(key=lambda item: -item[2].nbytes)
    hosts: list[_Host] = []
    named: dict[str, list[_Host]] = {}
    for network, name, array in listed:
        namesakes = named.setdefault(name, [])
        host = next((host for host in (*namesakes, *hosts) if host.holds(array)), None)
        if host is None:
            host = _Host(array)
            hosts.append(host)
            namesakes.append(host)
        host.guests.append((network, name, array.shape))
    return hosts
