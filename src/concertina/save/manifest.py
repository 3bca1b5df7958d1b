"""The manifest: all that a file says of its family apart from the weights themselves.

A `Manifest` that exists is sound: every rule of docs/format.md is checked when it is made, by whom ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from concertina.errors import HeaderError, ShapeError, SpecError, VersionError
from concertina.save import strict
from concertina.save.layout import Layout
from concertina.save.tensors import MAX_BYTES, TensorInfo, check_dtype
from concertina.types import Dim, GrowthOrder, Member, Point, Preprocess, Range, Rewrite, Role, Space, SubnetSpec

FORMAT_VERSION = 1
"""The version that this release writes, and the only one that it reads."""
MAX_POINTS = 1_000
"""Most operating points."""
MAX_STEPS = 1_000_000
"""Most growth steps."""
MAX_NEEDS = 64
"""Most gates that one dim may need."""
MAX_WORK = 1_000_000
"""Most members in all, and most points times tensors, dims or steps: what a hostile header can make a reader do."""
ROLES: tuple[Role, ...] = ("out", "in", "norm", "depthwise", "tied", "gate")
"""Roles in the order of their numbers in a file; a new role goes to the end."""
AVAILABLE = "available"
"""What `read(upto=...)` takes for "as much as is there"; no point may be called so."""


@dataclass(frozen=True)
class Architecture:
    """How the network is built again: a name that a registry knows and plain arguments, never code."""

    source: str
    """"zoo:digits-cnn", or "module:MyNet" for a class that the user gives when opening."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the registered builder, plain JSON data."""
    inputs: tuple[tuple[tuple[int, ...], str], ...] = ()
    """(shape, dtype text) of each example input; the first side is the batch."""
    rewritten: Mapping[str, Rewrite] = field(default_factory=dict)
    """Path of a layer -> the form it is put in, once the network is built."""


@dataclass(frozen=True)
class Manifest:
    """What the header of a file says; raises a `FormatError` at construction when it is not sound."""

    architecture: Architecture
    """How the network is built again."""
    tensors: tuple[TensorInfo, ...]
    """Every stored tensor at full size; their order is that of the file's blocks."""
    dims: tuple[Dim, ...]
    """The elastic dims; gate dims have a block's module path as target."""
    steps: tuple[int, ...]
    """Growth order: index of the dim that grows by one choice, step by step."""
    points: tuple[Point, ...]
    """Operating points; those on the order by rising position, extras (position -1) anywhere."""
    task: str = "classification"
    """Name of the task."""
    class_names: tuple[str, ...] = ()
    """Class names in the order of the outputs."""
    preprocess: Preprocess = field(default_factory=Preprocess)
    """What the network's inputs went through in training."""
    augment: str = ""
    """Name of the augmentation that the family was trained with; empty where the file does not say."""
    licence: str = ""
    """Licence of the weights."""
    core_fingerprint: str = ""
    """Fingerprint of the core."""
    provenance: Mapping[str, str | int | float] = field(default_factory=dict)
    """Where it comes from and how it was made: plain strings and numbers."""
    private: Mapping[str, tuple[TensorInfo, ...]] = field(default_factory=dict)
    """Point name -> its private tensors in the point's own shapes; `write_artifact` fills it in."""
    format_version: int = FORMAT_VERSION
    """Version of the format."""

    def __post_init__(self) -> None:
        """Refuse whatever the format does not allow."""
        if self.format_version != FORMAT_VERSION:
            raise VersionError("format version", asked=strict.brief(self.format_version), allowed=str(FORMAT_VERSION))
        _check_plain_fields(self)
        _check_tensors(self.tensors)
        _check_dims(self.dims, {tensor.name: tensor for tensor in self.tensors})
        _check_order(self)
        _check_points(self)
        _check_private(self)

    @property
    def breadth(self) -> int:
        """The largest of the numbers of tensors, dims and steps: the work that one point takes."""
        return max(len(self.tensors), len(self.dims), len(self.steps), 1)

    @cached_property
    def space(self) -> Space:
        """The space of the dims."""
        return Space(self.dims)

    @cached_property
    def order(self) -> GrowthOrder:
        """The growth order."""
        return GrowthOrder(self.space, self.steps)

    @cached_property
    def layout(self) -> Layout:
        """Where the bytes of every spec lie."""
        return Layout(self.tensors, self.space)


def specs_at(space: Space, steps: tuple[int, ...], positions: tuple[int, ...]) -> dict[int, SubnetSpec]:
    """Return the specs of several positions in one walk along the order.

    Args:
        space: The space of the order.
        steps: The order.
        positions: Rising positions, each within 0 to `len(steps)`.
    """
    level, specs, done = [0] * len(space.dims), {}, 0
    for position in positions:
        for step in steps[done:position]:
            level[step] += 1
        done = position
        choices = {dim.name: dim.choices[at] for dim, at in zip(space.dims, level, strict=True)}
        specs[position] = SubnetSpec.of(choices)
    return specs


def _check_plain_fields(manifest: Manifest) -> None:
    architecture, preprocess = manifest.architecture, manifest.preprocess
    strict.name(architecture.source, "architecture source")
    strict.plain(strict.table(architecture.arguments, "architecture arguments"), "architecture arguments")
    for shape, dtype in architecture.inputs:
        strict.integers(shape, "architecture input shape", 0)
        check_dtype(dtype, "architecture input")
    for path, how in strict.table(architecture.rewritten, "rewritten layers").items():
        strict.name(path, "rewritten layer")
        strict.name(how.way, f"rewritten layer {path!r}")
        strict.integer(how.rank, f"rank of {path!r}", 1)
        for pair in strict.listing(how.groups, f"groups of {path!r}", 0, MAX_POINTS):
            for number in strict.listing(pair, f"groups of {path!r}", 2, 2):
                strict.integer(number, f"groups of {path!r}", 1)
    strict.name(manifest.task, "task")
    if manifest.augment != "":
        strict.name(manifest.augment, "augment")
    strict.listing(manifest.class_names, "class names", 0, MAX_STEPS)
    for text in (*manifest.class_names, manifest.licence, manifest.core_fingerprint):
        strict.free_text(text, "class names, licence and fingerprint")
    strict.number(preprocess.scale, "preprocess scale")
    for values, where in ((preprocess.mean, "preprocess mean"), (preprocess.std, "preprocess std")):
        for value in strict.listing(values, where):
            strict.number(value, where)
    if 0 in preprocess.std:
        strict.refuse("preprocess std", 0, "numbers other than 0")
    for key, fact in strict.table(manifest.provenance, "provenance").items():
        strict.name(key, "provenance key")
        if isinstance(fact, bool) or not isinstance(fact, str | int | float):
            strict.refuse(f"provenance {key!r}", fact, "text or a number")
        strict.plain(fact, f"provenance {key!r}")


def _check_tensors(tensors: tuple[TensorInfo, ...]) -> None:
    strict.listing(tensors, "tensors", 0, MAX_WORK)
    for tensor in tensors:
        tensor.check("tensor")
    strict.unique((tensor.name for tensor in tensors), "tensor name")
    total = sum(tensor.nbytes for tensor in tensors)
    if total > MAX_BYTES:
        raise ShapeError("all tensors together", asked=f"{total} bytes", allowed=f"up to {MAX_BYTES}")


def _check_dims(dims: tuple[Dim, ...], tensors: Mapping[str, TensorInfo]) -> None:
    strict.unique((strict.name(dim.name, "dim name") for dim in dims), "dim name")
    names = {dim.name for dim in dims}
    taken: dict[tuple[str, int, str], list[Range]] = {}
    for dim in dims:
        where = f"dim {dim.name!r}"
        strict.name(dim.axis, f"{where} axis")
        strict.name(dim.target, f"{where} target")
        choices = strict.integers(dim.choices, f"{where} choices")
        if not choices or any(a >= b for a, b in pairwise(choices)):
            strict.refuse(f"{where} choices", choices, "one or more rising integers")
        strict.unique(strict.listing(dim.needs, f"{where} needs", 0, MAX_NEEDS), f"{where} needs")
        if not names.issuperset(dim.needs) or dim.name in dim.needs:
            strict.refuse(f"{where} needs", dim.needs, "names of other dims")
        for attribute in dim.attributes:
            _check_attribute(attribute, where)
        for member in dim.members:
            _check_member(member, dim, tensors, taken)


def _check_attribute(attribute: Any, where: str) -> None:
    strict.free_text(attribute.module, f"{where} attribute module")
    strict.name(attribute.attribute, f"{where} attribute")
    strict.integer(attribute.positions, f"{where} attribute positions", 1)
    strict.integer(attribute.index, f"{where} attribute index", -1, 64)


def _check_member(
    member: Member, dim: Dim, tensors: Mapping[str, TensorInfo], taken: dict[tuple[str, int, str], list[Range]]
) -> None:
    where = f"dim {dim.name!r} member {member.tensor!r}"
    if member.tensor not in tensors:
        strict.refuse(where, member.tensor, "the name of a tensor")
    if member.role not in ROLES or (member.role == "gate") != (member.dim == -1):
        strict.refuse(f"{where} role", member.role, "a known role, and 'gate' exactly where dim is -1")
    if (member.dim == -1) != dim.is_gate:
        strict.refuse(where, member.dim, "gates only, or no gate, in one dim")
    if dim.is_gate:
        _check_gate(member, dim)
    else:
        _check_side(member, dim, tensors[member.tensor].shape)
    own = (member.start, member.start + dim.original * member.positions)
    held = taken.setdefault((member.tensor, member.dim, dim.name if dim.is_gate else ""), [])
    if any(start < own[1] and own[0] < stop for start, stop in held):
        strict.refuse_words(where, f"side {member.dim} a second time", "each position of a side in one dim, once")
    held.append(own)


def _check_gate(member: Member, dim: Dim) -> None:
    if dim.choices not in ((0, 1), (1,)):
        strict.refuse(f"dim {dim.name!r} choices", dim.choices, "0 and 1 for a gate")
    strict.integer(member.positions, f"dim {dim.name!r} gate positions", 1, 1)
    strict.integer(member.start, f"dim {dim.name!r} gate start", 0, 0)
    strict.integer(member.of, f"dim {dim.name!r} gate length", 0, 0)


def _check_side(member: Member, dim: Dim, shape: tuple[int, ...]) -> None:
    where = f"dim {dim.name!r} member {member.tensor!r}"
    strict.integer(member.dim, f"{where} dim", 0, len(shape) - 1)
    strict.integer(member.positions, f"{where} positions", 1)
    length, owned = shape[member.dim], dim.original * member.positions
    strict.integer(member.start, f"{where} start", 0, max(0, length - owned))
    if strict.integer(member.of, f"{where} length", 0) not in (0, length) or (not member.of and owned != length):
        asked = f"{dim.original} units of {member.positions} positions" + (f" on {member.of}" if member.of else "")
        raise ShapeError(f"{where} side {member.dim}", asked=asked, allowed=f"{shape[member.dim]} positions")


def _check_order(manifest: Manifest) -> None:
    strict.listing(manifest.steps, "steps", 0, MAX_STEPS)
    strict.integers(manifest.steps, "steps", 0, max(len(manifest.dims) - 1, 0))
    try:
        _ = manifest.order
    except SpecError as error:
        raise HeaderError("steps", asked=error.asked, allowed="a whole growth order") from error


def _check_points(manifest: Manifest) -> None:
    points = strict.listing(manifest.points, "points", 0, MAX_POINTS)
    strict.integer(manifest.breadth * (len(points) + 1), "tensors, dims or steps, times points", 0, MAX_WORK)
    strict.unique((strict.name(point.name, "point name") for point in points), "point name")
    if any(point.name == AVAILABLE for point in points):
        strict.refuse("point name", AVAILABLE, f"any other name: {AVAILABLE!r} is a word of the reader")
    for point in points:
        _check_point(point, manifest)
    on_order = tuple(point for point in points if point.position >= 0)
    positions = tuple(point.position for point in on_order)
    if any(a >= b for a, b in pairwise(positions)):
        strict.refuse("positions of the points", positions, "rising positions")
    specs = specs_at(manifest.space, manifest.steps, positions)
    for point in on_order:
        if point.spec != specs[point.position]:
            strict.refuse(f"point {point.name!r} spec", point.spec.text, f"the spec of position {point.position}")


def _check_point(point: Point, manifest: Manifest) -> None:
    where = f"point {point.name!r}"
    strict.integer(point.position, f"{where} position", -1, len(manifest.steps))
    for value, noun in ((point.macs, "macs"), (point.params, "params"), (point.size_bytes, "size_bytes")):
        strict.integer(value, f"{where} {noun}")
    if strict.number(point.share, f"{where} share") < 0:
        strict.refuse(f"{where} share", point.share, "0 or more")
    strict.unique((strict.name(name, f"{where} metric") for name, _ in point.metrics), f"{where} metric")
    for name, figure in point.metrics:
        strict.number(figure, f"{where} metric {name!r}")
    if point.position == -1:
        try:
            canonical = manifest.space.check(point.spec)
        except SpecError as error:
            raise HeaderError(f"{where} spec", asked=str(error), allowed="a spec of the dims") from error
        if canonical != point.spec:
            strict.refuse(f"{where} spec", point.spec.text, "dims of a skipped block at their floor")


def _check_private(manifest: Manifest) -> None:
    specs = {point.name: point.spec for point in manifest.points}
    index = {tensor.name: i for i, tensor in enumerate(manifest.tensors)}
    for name, entries in manifest.private.items():
        if name not in specs:
            strict.refuse("private tensors", name, "the name of a point")
        strict.listing(entries, f"private tensors of {name!r}", 0, MAX_WORK)
        strict.unique((entry.check(f"private tensor of {name!r}").name for entry in entries), f"private of {name!r}")
        shapes = manifest.layout.shapes(specs[name])
        for entry in entries:
            if entry.name in index and entry.shape != shapes[index[entry.name]]:
                allowed = str(shapes[index[entry.name]] or "none: the tensor is not in this point")
                raise ShapeError(f"private {entry.name!r} of {name!r}", asked=str(entry.shape), allowed=allowed)
