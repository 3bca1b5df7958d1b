"""Which blobs a family's file has, in which order, and what each holds.

Stage 0, private tensors of its points, stage 1, ...: a stage for every position that a point stands at, and one
up to the full network. An extra point follows the first stage that covers its spec. Behind the core come the modules
that plug into it, a blob for each, and the tables.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from concertina.errors import LayoutError, ShapeError
from concertina.save.format import Blob
from concertina.save.manifest import Manifest, specs_at
from concertina.types import Point, SubnetSpec

TABLES = "tables"
"""Name of the last, optional blob."""
MODULE = "module."
"""How the names of modules' blobs begin."""


@dataclass(frozen=True)
class Part:
    """One blob to come: a stage, or the private tensors of a point."""

    name: str
    """Name of the blob."""
    size: int
    """Its length in bytes."""
    stage: int
    """Index of the stage that it is, or that its point needs."""
    position: int
    """Position on the growth order that the stage reaches."""
    before: SubnetSpec | None
    """Spec before the stage; None for the first."""
    after: SubnetSpec
    """Spec after the stage."""
    point: Point | None
    """The point whose private tensors these are; None for a stage."""
    completes: tuple[Point, ...]
    """Points that can be served once this blob is read."""


def parts(manifest: Manifest) -> tuple[Part, ...]:
    """Return every blob but the tables, in file order."""
    positions = sorted({point.position for point in manifest.points if point.position >= 0} | {len(manifest.steps)})
    specs = specs_at(manifest.space, manifest.steps, tuple(positions))
    homes: dict[int, list[Point]] = {position: [] for position in positions}
    for point in sorted(manifest.points, key=lambda point: point.position == -1):
        homes[positions[bisect_left(positions, _needs(point, manifest))]].append(point)
    found: list[Part] = []
    before, held = None, 0
    for i, (position, points) in enumerate(homes.items()):
        after, size = specs[position], manifest.layout.size(specs[position])
        bare = tuple(point for point in points if not manifest.private.get(point.name))
        found.append(Part(f"stage.{i}", size - held, i, position, before, after, None, bare))
        for point in points:
            if infos := manifest.private.get(point.name):
                private = sum(info.nbytes for info in infos)
                found.append(Part(f"private.{point.name}", private, i, position, before, after, point, (point,)))
        before, held = after, size
    return tuple(found)


def _needs(point: Point, manifest: Manifest) -> int:
    """Return the first position of the growth order whose spec covers that of the point."""
    if point.position >= 0:
        return point.position
    levels = [dim.choices.index(point.spec[dim.name]) for dim in manifest.dims]
    position = 0
    for i, step in enumerate(manifest.steps):
        if levels[step] > 0:
            levels[step] -= 1
            position = i + 1
    return position


@dataclass(frozen=True)
class Behind:
    """The blobs behind the core."""

    modules: Mapping[str, Blob]
    """Name of a module -> its blob, in file order."""
    tables: Blob | None
    """That of the tables, if there is one."""


def check_blobs(blobs: Sequence[Blob], planned: Sequence[Part]) -> Behind:
    """Raise unless the blobs are exactly those planned, then modules, then tables; return what is behind the core.

    Raises:
        LayoutError: A blob is missing, too many, or out of order.
        ShapeError: A blob has another length than the manifest's tensors say.
    """
    names = [blob.name for blob in blobs]
    core, has_tables = len(planned), TABLES in names
    modules = {blob.name.removeprefix(MODULE): blob for blob in blobs[core:] if blob.name.startswith(MODULE)}
    expected = [*(part.name for part in planned), *(MODULE + name for name in modules), *[TABLES] * has_tables]
    if names != expected:
        shorter = min(len(names), len(expected))
        at = next((i for i in range(shorter) if names[i] != expected[i]), shorter)
        asked, allowed = (repr(each[at]) if at < len(each) else "nothing" for each in (names, expected))
        raise LayoutError(f"blob {at}", asked=asked, allowed=allowed)
    for blob, part in zip(blobs, planned, strict=False):
        if blob.size != part.size:
            raise ShapeError(f"blob {blob.name!r}", asked=f"{blob.size} bytes", allowed=f"{part.size} by the manifest")
    return Behind(modules, blobs[-1] if has_tables else None)
