"""Points as lists: `[name, at, macs, params, size_bytes, share, metrics, private]`.

`at` is the position on the growth order, or the levels (index of the choice, dim by dim) of an extra.
`private` holds runs `[first tensor, count]` of tensors of the network, and `[name, dtype, shape]` for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from concertina.save import strict
from concertina.save.compact import Budget, pad, pick, trim
from concertina.save.manifest import MAX_POINTS, MAX_WORK, Manifest, specs_at
from concertina.save.tensors import TensorInfo
from concertina.types import Point, SubnetSpec


def write_point(point: Point, manifest: Manifest) -> list[Any]:
    """Return one point of the manifest as a list."""
    at: int | list[int] = point.position
    if at == -1:
        at = [dim.choices.index(point.spec[dim.name]) for dim in manifest.dims]
    figures = [point.macs, point.params, point.size_bytes, point.share, dict(point.metrics)]
    return trim([point.name, at, *figures, _write_private(point, manifest)], [])


def _write_private(point: Point, manifest: Manifest) -> list[list[Any]]:
    index = {tensor.name: i for i, tensor in enumerate(manifest.tensors)}
    entries: list[list[Any]] = []
    for info in manifest.private.get(point.name, ()):
        i = index.get(info.name)
        if i is None or manifest.tensors[i].dtype != info.dtype:
            entries.append([info.name, info.dtype, info.shape])
        elif entries and len(entries[-1]) == 2 and sum(entries[-1]) == i:
            entries[-1][1] += 1
        else:
            entries.append([i, 1])
    return entries


class PointReader:
    """Reads points, and what private tensors they have.

    Args:
        raw: The list of points as parsed.
        manifest: The manifest without points, already checked.
    """

    def __init__(self, raw: object, manifest: Manifest) -> None:
        rows = strict.listing(raw, "manifest points", 0, min(MAX_POINTS, MAX_WORK // manifest.breadth))
        self._manifest = manifest
        self._rows = [pad(row, f"manifest points[{i}]", 7, []) for i, row in enumerate(rows)]
        most = len(manifest.steps)
        positions = {row[1] for row in self._rows if type(row[1]) is int and 0 <= row[1] <= most}
        self._specs = specs_at(manifest.space, manifest.steps, tuple(sorted(positions)))
        self.points = tuple(self._point(row) for row in self._rows)

    def _point(self, row: list[Any]) -> Point:
        name, at, macs, params, size_bytes, share, metrics, _ = row
        where = f"point {strict.name(name, 'manifest point name')!r}"
        figures = strict.table(metrics, f"{where} metrics").items()
        values = tuple((key, strict.number(value, f"{where} metric {key!r}")) for key, value in figures)
        spec, position = self._spec(at, where)
        return Point(name, spec, position, macs, params, size_bytes, strict.number(share, f"{where} share"), values)

    def _spec(self, at: object, where: str) -> tuple[SubnetSpec, int]:
        if not isinstance(at, list):
            position = strict.integer(at, f"{where} position", 0, len(self._manifest.steps))
            return self._specs[position], position
        dims = self._manifest.dims
        levels = strict.listing(at, f"{where} levels", len(dims), len(dims))
        choices = {dim.name: pick(dim.choices, level, where) for dim, level in zip(dims, levels, strict=True)}
        return SubnetSpec.of(choices), -1

    def private(self) -> dict[str, tuple[TensorInfo, ...]]:
        """Return point name -> private tensors, for the points that have any; raises a `FormatError`."""
        budget = Budget(MAX_WORK, "private tensors")
        found = {}
        for point, row in zip(self.points, self._rows, strict=True):
            if strict.listing(row[7], f"point {point.name!r} private"):
                found[point.name] = tuple(self._private(row[7], point, budget))
        return found

    def _private(self, entries: list[Any], point: Point, budget: Budget) -> Iterator[TensorInfo]:
        manifest = self._manifest
        where, shapes = f"point {point.name!r} private", manifest.layout.shapes(point.spec)
        for entry in entries:
            if len(strict.listing(entry, where, 2, 3)) == 2:
                strict.integer(entry[0], f"{where} tensor", 0, len(manifest.tensors) - 1)
                budget.take(strict.integer(entry[1], f"{where} count", 1, len(manifest.tensors) - entry[0]), where)
        for first, second, *shape in entries:
            if shape:
                yield TensorInfo(first, second, strict.integers(shape[0], f"{where} shape"))
                continue
            for i in range(first, first + second):
                info, shape = manifest.tensors[i], shapes[i]
                if shape is None:
                    strict.refuse(where, info.name, "tensors that the point has")
                yield TensorInfo(info.name, info.dtype, shape)
