"""Write a family as one file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from concertina.errors import HeaderError, ShapeError
from concertina.save import strict
from concertina.save.atomic import replacing
from concertina.save.codec import to_json
from concertina.save.format import build_header, header_hash
from concertina.save.manifest import Manifest
from concertina.save.plan import MODULE, TABLES, Part, parts
from concertina.save.tables import pack
from concertina.save.tensors import Array, TensorInfo, by_item_size, dtype_text


@dataclass(frozen=True)
class WriteReport:
    """What a written file is made of."""

    file_bytes: int
    """Bytes of the whole file."""
    header_bytes: int
    """Bytes before the first stage."""
    stage_bytes: tuple[int, ...]
    """Bytes of every stage, in order."""
    private_bytes: Mapping[str, int]
    """Point name -> bytes of its private tensors, for the points that have some."""
    module_bytes: Mapping[str, int]
    """Name of a module -> its bytes."""
    tables_bytes: int
    """Bytes of the tables as they lie in the file; 0 for none."""
    sha256: str
    """SHA-256 of the header: what `open_artifact(sha256=...)` pins."""


def write_artifact(
    path: str | Path,
    manifest: Manifest,
    tensors: Mapping[str, Array],
    private: Mapping[str, Mapping[str, Array]],
    tables: Mapping[str, object] | None = None,
    modules: Mapping[str, bytes] | None = None,
) -> WriteReport:
    """Write a family as one file, in one step: an old file of this name is replaced whole or stays as it is.

    Args:
        path: Where to.
        manifest: The family; its `private` may be left empty, it follows from the argument.
        tensors: Every tensor of the manifest at full size, already permuted; BF16 as uint16.
        private: Point name -> tensor name -> array in the point's own shape.
        tables: Name -> data for the last stage: lists of `Record`, arrays, bytes, plain JSON data.
        modules: Name -> bytes of a module's own file; each is a stage by itself, between the core and the tables.

    Returns:
        The sizes of all parts, and the header's hash.

    Raises:
        FormatError: The data does not fit the manifest (`ShapeError`, `DtypeError`) or the format.
        StorageError: The disk refuses; nothing is changed.
    """
    manifest = replace(manifest, private=_describe(manifest, private))
    _check_arrays(manifest.tensors, tensors, "tensors")
    planned, text = parts(manifest), to_json(manifest)
    behind = {MODULE + strict.name(name, "name of a module"): data for name, data in (modules or {}).items()}
    if packed := pack(tables) if tables else b"":
        behind[TABLES] = packed
    sizes = [(part.name, part.size) for part in planned] + [(name, len(data)) for name, data in behind.items()]
    header = build_header(text, sizes, {})
    hashes: dict[str, str] = {}
    with replacing(path) as file:
        file.write(header)
        for name, data in _blobs(planned, manifest, tensors, private, behind):
            hashes[name] = hashlib.sha256(data).hexdigest()
            file.write(data)
        header = build_header(text, sizes, hashes)
        file.seek(0)
        file.write(header)
    return WriteReport(
        file_bytes=len(header) + sum(size for _, size in sizes),
        header_bytes=len(header),
        stage_bytes=tuple(part.size for part in planned if part.point is None),
        private_bytes={part.point.name: part.size for part in planned if part.point is not None},
        module_bytes={name: len(data) for name, data in (modules or {}).items()},
        tables_bytes=len(packed),
        sha256=header_hash(header),
    )


def _blobs(
    planned: Sequence[Part],
    manifest: Manifest,
    tensors: Mapping[str, Array],
    private: Mapping[str, Mapping[str, Array]],
    behind: Mapping[str, bytes],
) -> Iterator[tuple[str, bytes]]:
    """Give (name, bytes) of every blob in file order; one stage at a time is held in memory."""
    for part in planned:
        if part.point is None:
            yield part.name, manifest.layout.gather(tensors, part.before, part.after)
        else:
            infos = by_item_size(manifest.private[part.point.name])
            yield part.name, b"".join(private[part.point.name][info.name].tobytes() for info in infos)
    yield from behind.items()


def _describe(manifest: Manifest, private: Mapping[str, Mapping[str, Array]]) -> dict[str, tuple[TensorInfo, ...]]:
    """Return name, dtype and shape of all private tensors, in the order of the network's tensors."""
    unknown = set(private) - {point.name for point in manifest.points}
    if unknown:
        raise HeaderError("private tensors", asked=f"points {sorted(unknown)}", allowed="names of points")
    order = {info.name: i for i, info in enumerate(manifest.tensors)}
    dtypes = {info.name: info for info in manifest.tensors}
    found: dict[str, tuple[TensorInfo, ...]] = {}
    for point in manifest.points:
        arrays = private.get(point.name, {})
        names = sorted(arrays, key=lambda name: order.get(name, len(order)))
        stated = manifest.private.get(point.name)
        infos = stated or tuple(_info(name, arrays[name], dtypes.get(name)) for name in names)
        _check_arrays(infos, arrays, f"private tensors of {point.name!r}")
        if infos:
            found[point.name] = infos
    return found


def _info(name: str, array: Any, shared: TensorInfo | None) -> TensorInfo:
    if not isinstance(array, np.ndarray):
        raise ShapeError(f"private tensor {name!r}", asked=type(array).__name__, allowed="a numpy array")
    same = shared is not None and shared.numpy_dtype == array.dtype
    dtype = shared.dtype if shared is not None and same else dtype_text(array.dtype, f"private tensor {name!r}")
    return TensorInfo(name, dtype, tuple(int(side) for side in array.shape))


def _check_arrays(infos: Sequence[TensorInfo], arrays: Mapping[str, Array], where: str) -> None:
    names = {info.name for info in infos}
    if names != set(arrays):
        missing, extra = sorted(names - set(arrays))[:4], sorted(map(str, set(arrays) - names))[:4]
        raise HeaderError(where, asked=f"missing {missing}, unknown {extra}", allowed="those that the manifest names")
    for info in infos:
        info.check_array(arrays[info.name])
