"""Open a file, read a prefix of it, and read on later."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from concertina.errors import FormatError, LayoutError, StorageError, UnknownNameError
from concertina.save.address import is_address
from concertina.save.codec import from_json
from concertina.save.format import Blob, read_blob, read_header
from concertina.save.layout import from_bytes
from concertina.save.manifest import Manifest
from concertina.save.plan import check_blobs, parts
from concertina.save.reach import Upto, last_part, truncated
from concertina.save.remote import HttpSource
from concertina.save.sources import ByteSource, FileSource
from concertina.save.tables import unpack
from concertina.save.tensors import Array, by_item_size
from concertina.types import Point, SubnetSpec


@dataclass(frozen=True)
class Stage:
    """One stage of a file."""

    name: str
    """Name of its blob."""
    start: int
    """Offset of its first byte in the file."""
    end: int
    """Offset after its last byte in the file."""
    position: int
    """Position on the growth order that it reaches."""
    spec: SubnetSpec
    """The spec that it reaches."""
    points: tuple[Point, ...]
    """Points that need this stage and none after it."""


@dataclass(frozen=True, eq=False)
class Content:
    """What has been read so far."""

    tensors: Mapping[str, Array]
    """Arrays by name: full size with zeros where nothing is read yet, or (no reserve) just the extents of `spec`."""
    private: Mapping[str, Mapping[str, Array]]
    """Point name -> tensor name -> array, for the points that have private tensors."""
    spec: SubnetSpec
    """The largest spec whose tensors are there."""
    position: int
    """Its position on the growth order."""
    points: tuple[Point, ...]
    """The points that can be served, in file order."""


def open_artifact(source: str | Path | ByteSource, *, sha256: str | None = None) -> Artifact:
    """Open a file and read its header; no byte after the header is read, and nothing is executed.

    Args:
        source: A path, an http or https address, or anything that has a size and reads ranges.
        sha256: The header's hash, if you know it from elsewhere: pins the whole file.

    Raises:
        StorageError: The path cannot be read, or is no regular file; the server refuses or is silent.
        FormatError: The file is not a sound artifact; the class says why.
    """
    if not isinstance(source, str | Path):
        return Artifact(source, sha256=sha256)
    file = HttpSource(str(source)) if is_address(source) else FileSource(source)
    try:
        return Artifact(file, sha256=sha256, name=f"file {str(getattr(file, 'name', source))!r}")
    except BaseException:
        file.close()
        raise


class Artifact:
    """An open file: its manifest, its stages, and what has been read of it.

    Args:
        source: Where the bytes come from.
        sha256: The header's hash to insist on, or None.
        name: What to call the file in messages.
    """

    def __init__(self, source: ByteSource, *, sha256: str | None = None, name: str = "") -> None:
        self._source, self._name = source, name
        with self._scene():
            header = read_header(source, sha256=sha256)
            self.manifest: Manifest = from_json(header.manifest)
            self._parts = parts(self.manifest)
            self._behind = check_blobs(header.blobs, self._parts)
            if source.size > header.file_size:
                extra = source.size - header.file_size
                raise LayoutError("end of file", asked=f"{extra} bytes after the last blob", allowed="none")
        self.sha256 = header.sha256
        self.header_bytes = header.size
        self.file_bytes = header.file_size
        self._blobs = header.blobs
        self._read = header.size
        self._content: Content | None = None
        self._last, self._reserve = -1, True

    @property
    def bytes_read(self) -> int:
        """Bytes read from the source so far, the header included."""
        return self._read

    @property
    def complete(self) -> bool:
        """Whether the whole file is there."""
        return self._source.size >= self.file_bytes

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the file, read or not."""
        found = []
        for part, blob in zip(self._parts, self._blobs, strict=False):
            if part.point is None:
                points = tuple(p for other in self._parts if other.stage == part.stage for p in other.completes)
                found.append(Stage(part.name, blob.start, blob.end, part.position, part.after, points))
        return tuple(found)

    @property
    def available(self) -> tuple[Point, ...]:
        """The points that are wholly in the file, in file order."""
        return tuple(point for part in self._parts[: self._present()] for point in part.completes)

    @property
    def ends(self) -> Mapping[str, int]:
        """Point name -> bytes of the file, from its first on, that must be there to run the point."""
        blobs = zip(self._parts, self._blobs, strict=False)
        return {point.name: blob.end for part, blob in blobs for point in part.completes}

    def within(self, upto: Upto = None) -> tuple[Point, ...]:
        """Return the points that `read` would give, and read nothing; arguments and errors as there."""
        with self._scene():
            last = self._target(upto)
        return tuple(point for part in self._parts[: last + 1] for point in part.completes)

    def read(self, upto: Upto = None, reserve: bool = True) -> Content:
        """Read from the first stage up to a point.

        Args:
            upto: A point's name; a share of the core's MACs (the largest point on the growth order that fits, with
                the extras that need no more); "available" for as much as is there; None for everything, which
                insists on a whole file.
            reserve: Whether arrays have their full size from the start, so that `grow` fills them in place and
                views handed out before stay valid; otherwise they are just large enough.

        Raises:
            TruncatedError: The file ends before; names the largest point that is wholly there.
            HashError: A blob's bytes are not those that were written; nothing of it is used.
            PointError, BudgetError: No such point, or none that small.
            StorageError: There is no memory for the arrays.
        """
        with self._scene():
            last = self._target(upto)
            tensors = self._allocate(None if reserve else self._parts[last].after)
            self._content, self._last, self._reserve = self._load(last, -1, tensors, {}), last, reserve
        return self._content

    def grow(self, upto: Upto = None) -> Content:
        """Read on from where the last `read` or `grow` ended; what is there already is not read again.

        Args:
            upto: As for `read`. A point that is there already changes nothing.

        Raises:
            FormatError, InputError, StorageError: As `read`; what was read before stays usable.
        """
        if self._content is None:
            return self.read(upto)
        with self._scene():
            last = self._target(upto)
            if last > self._last:
                old = self._content.tensors
                tensors = dict(old) if self._reserve else self._enlarge(old, self._parts[last].after)
                self._content = self._load(last, self._last, tensors, dict(self._content.private))
                self._last = last
        return self._content

    def tables(self) -> dict[str, Any]:
        """Read the tables, the last stage of the file; empty when it has none.

        Raises:
            TruncatedError: The file ends before.
            FormatError: The tables are not what was written, or not what the format says.
        """
        with self._scene():
            if self._behind.tables is None:
                return {}
            if not self.complete:
                raise truncated(self._parts, self._present(), "the tables")
            return unpack(self._blob(self._behind.tables))

    @property
    def modules(self) -> Mapping[str, int]:
        """Name of a module in the file -> its bytes, in file order."""
        return {name: blob.size for name, blob in self._behind.modules.items()}

    def module(self, name: str) -> bytes:
        """Read one module, and nothing else.

        Args:
            name: One of `modules`.

        Raises:
            UnknownNameError: There is no such module.
            TruncatedError: The file ends before.
            HashError: The bytes are not those that were written.
        """
        with self._scene():
            if name not in self._behind.modules:
                raise UnknownNameError(
                    "module of the file", asked=repr(name), allowed=", ".join(self._behind.modules) or "none is there"
                )
            return self._blob(self._behind.modules[name])

    def close(self) -> None:
        """Close the file or connection; arrays that were read stay valid."""
        if isinstance(self._source, FileSource | HttpSource):
            self._source.close()

    def __enter__(self) -> Artifact:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _scene(self) -> Iterator[None]:
        """Add the file's name to a format error, once; name a lack of memory."""
        try:
            yield
        except MemoryError as error:
            do = "Use reserve=False or a smaller upto."
            raise StorageError(f"{self._name or 'file'}: not enough memory", do=do) from error
        except FormatError as error:
            if not self._name or error.where.startswith(self._name):
                raise
            where = f"{self._name}: {error.where}"
            raise type(error)(where, asked=error.asked, allowed=error.allowed, do=error.do) from error

    def _present(self) -> int:
        size = self._source.size
        return sum(1 for blob in self._blobs[: len(self._parts)] if blob.end <= size)

    def _target(self, upto: Upto) -> int:
        if upto is None and not self.complete:
            raise truncated(self._parts, self._present(), "everything")
        return last_part(self._parts, self._present(), upto)

    def _blob(self, blob: Blob) -> bytes:
        data = read_blob(self._source, blob)
        self._read += blob.size
        return data

    def _allocate(self, spec: SubnetSpec | None) -> dict[str, Array]:
        """Return arrays of full size, zeroed without touching the memory, or of the extents of a spec."""
        infos, layout = self.manifest.tensors, self.manifest.layout
        pairs = [(info, shape) for info, shape in zip(infos, layout.room(spec), strict=True) if shape is not None]
        try:
            return {info.name: np.zeros(shape, info.numpy_dtype) for info, shape in pairs}
        except ValueError as error:
            raise MemoryError("an array larger than any memory") from error

    def _enlarge(self, old: Mapping[str, Array], spec: SubnetSpec) -> dict[str, Array]:
        tensors = self._allocate(spec)
        for name, array in old.items():
            tensors[name][tuple(slice(0, side) for side in array.shape)] = array
        return tensors

    def _load(
        self, last: int, done: int, tensors: dict[str, Array], private: dict[str, Mapping[str, Array]]
    ) -> Content:
        for part, blob in zip(self._parts[done + 1 : last + 1], self._blobs[done + 1 : last + 1], strict=True):
            data = self._blob(blob)
            if part.point is None:
                self.manifest.layout.scatter(data, tensors, part.before, part.after)
            else:
                private[part.point.name] = self._private(data, part.point)
        points = tuple(point for part in self._parts[: last + 1] for point in part.completes)
        return Content(tensors, private, self._parts[last].after, self._parts[last].position, points)

    def _private(self, data: bytes, point: Point) -> dict[str, Array]:
        """Return the arrays of one point, in the order of the manifest."""
        arrays, offset = {}, 0
        infos = self.manifest.private[point.name]
        for info in by_item_size(infos):
            arrays[info.name] = from_bytes(data, info, offset, info.shape).copy()
            offset += info.nbytes
        return {info.name: arrays[info.name] for info in infos}
