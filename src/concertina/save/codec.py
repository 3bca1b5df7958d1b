"""A manifest as compact JSON text, and back.

Tensors, dims and axes are written as indices, runs as one entry, and the spec of a point that lies on the
growth order as its position alone. docs/format.md describes every field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from concertina.errors import HeaderError, VersionError
from concertina.save import strict
from concertina.save.compact import runs
from concertina.save.dim_codec import DimReader, DimWriter
from concertina.save.manifest import FORMAT_VERSION, MAX_WORK, Architecture, Manifest
from concertina.save.point_codec import PointReader, write_point
from concertina.save.tensors import TensorInfo
from concertina.types import Preprocess, Rewrite

KEYS = (
    *("version", "architecture", "task", "class_names", "preprocess", "licence", "core", "provenance"),
    *("names", "dtypes", "shapes", "axes", "attributes", "dims", "steps", "points"),
)
"""The keys of a manifest, in order."""
OPTIONAL = ("augment",)
"""Keys that come last and only where they say something; a file from before they were known lacks them."""


def to_json(manifest: Manifest) -> str:
    """Return the manifest as compact JSON text; equal manifests give equal texts.

    Raises:
        HeaderError: A plain field holds what JSON cannot.
    """
    architecture, preprocess = manifest.architecture, manifest.preprocess
    writer = DimWriter([tensor.name for tensor in manifest.tensors], manifest.dims)
    values = (
        manifest.format_version,
        _write_architecture(architecture),
        manifest.task,
        manifest.class_names,
        [preprocess.scale, preprocess.mean, preprocess.std],
        manifest.licence,
        manifest.core_fingerprint,
        manifest.provenance,
        [tensor.name for tensor in manifest.tensors],
        runs([tensor.dtype for tensor in manifest.tensors]),
        [tensor.shape for tensor in manifest.tensors],
        writer.axes,
        writer.attributes,
        [writer.write(dim) for dim in manifest.dims],
        manifest.steps,
        [write_point(point, manifest) for point in manifest.points],
    )
    told = {"augment": manifest.augment} if manifest.augment else {}
    return dumps(dict(zip(KEYS, values, strict=True)) | told, "manifest")


def dumps(value: object, where: str) -> str:
    """Return compact JSON text of plain data.

    Raises:
        HeaderError: Something in it is not plain JSON data.
    """

    def foreign(item: object) -> NoReturn:
        """Refuse what JSON cannot hold."""
        strict.refuse(where, item, "text, numbers, true, false, null, lists and objects")

    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=foreign)
    except (ValueError, TypeError, RecursionError) as error:
        raise HeaderError(where, asked=f"what JSON cannot hold ({error})") from error


def from_json(text: str) -> Manifest:
    """Return the manifest that a JSON text describes, every field checked.

    Raises:
        VersionError: Another format version.
        FormatError: A subclass that says what is wrong and where.
    """
    raw = strict.parse(text, "manifest")
    _check_version(raw.get("version") if isinstance(raw, dict) else None)
    raw = strict.table(raw, "manifest", (*KEYS, *(key for key in OPTIONAL if key in raw)))
    tensors = _read_tensors(raw)
    dims = DimReader(raw, tensors).read()
    manifest = Manifest(
        architecture=_read_architecture(raw["architecture"]),
        tensors=tensors,
        dims=dims,
        steps=strict.integers(raw["steps"], "manifest steps"),
        points=(),
        task=raw["task"],
        class_names=tuple(strict.listing(raw["class_names"], "manifest class_names")),
        preprocess=_read_preprocess(raw["preprocess"]),
        augment=strict.name(raw["augment"], "manifest augment") if "augment" in raw else "",
        licence=raw["licence"],
        core_fingerprint=raw["core"],
        provenance=raw["provenance"],
    )
    reader = PointReader(raw["points"], manifest)
    return replace(manifest, points=reader.points, private=reader.private())


def _check_version(version: object) -> None:
    if type(version) is not int or version != FORMAT_VERSION:
        newer = type(version) is int and version > FORMAT_VERSION
        do = "Open the file with a newer release." if newer else ""
        raise VersionError("manifest version", asked=strict.brief(version), allowed=str(FORMAT_VERSION), do=do)


def _read_tensors(raw: Mapping[str, Any]) -> tuple[TensorInfo, ...]:
    names = strict.listing(raw["names"], "manifest names", 0, MAX_WORK)
    shapes = strict.listing(raw["shapes"], "manifest shapes", len(names), len(names))
    dtypes: list[Any] = []
    for run in strict.listing(raw["dtypes"], "manifest dtypes"):
        dtype, count = strict.listing(run, "manifest dtypes", 2, 2)
        dtypes += [dtype] * strict.integer(count, "manifest dtypes count", 1, len(names) - len(dtypes))
    strict.listing(dtypes, "manifest dtypes", len(names), len(names))
    rows = zip(names, dtypes, shapes, strict=True)
    return tuple(TensorInfo(n, d, strict.integers(s, "manifest shapes")) for n, d, s in rows)


def _write_architecture(architecture: Architecture) -> dict[str, Any]:
    table = {"source": architecture.source, "arguments": architecture.arguments, "inputs": architecture.inputs}
    rewritten = {path: (how.way, how.rank, how.groups) for path, how in architecture.rewritten.items()}
    return table | ({"rewritten": rewritten} if rewritten else {})


def _read_architecture(raw: object) -> Architecture:
    rewritten = raw.pop("rewritten", {}) if isinstance(raw, dict) else {}
    table = strict.table(raw, "manifest architecture", ("source", "arguments", "inputs"))
    inputs = []
    for item in strict.listing(table["inputs"], "architecture inputs"):
        shape, dtype = strict.listing(item, "architecture inputs", 2, 2)
        inputs.append((strict.integers(shape, "architecture input shape"), dtype))
    pairs = {}
    for path, pair in strict.table(rewritten, "rewritten layers").items():
        way, rank, groups = strict.listing(pair, f"rewritten layer {path!r}", 3, 3)
        groups = [strict.listing(each, f"groups of {path!r}", 2, 2) for each in strict.listing(groups, "groups")]
        pairs[path] = Rewrite(way, rank, tuple((words, each) for words, each in groups))
    arguments = strict.table(table["arguments"], "architecture arguments")
    return Architecture(table["source"], arguments, tuple(inputs), pairs)


def _read_preprocess(raw: object) -> Preprocess:
    scale, *sides = strict.listing(raw, "manifest preprocess", 3, 3)
    mean, std = (tuple(strict.number(value, "preprocess") for value in strict.listing(s, "preprocess")) for s in sides)
    return Preprocess(strict.number(scale, "preprocess scale"), mean, std)
