"""Small families for the tests of the file: one made by hand, any number made at random."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from concertina.save import DTYPES, Architecture, Manifest, TensorInfo, write_artifact
from concertina.types import Dim, GrowthOrder, Member, Point, Preprocess, Record, SizeAttribute, Space, SubnetSpec

Arrays = dict[str, np.ndarray[Any, Any]]

NO_FILES: dict[str, Callable[[Path], object]] = {
    "directory": lambda path: path.mkdir(),
    "fifo": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path),
}
"""What may stand in the place of a file, and how it comes there."""


@dataclass(frozen=True)
class Family:
    """All that `write_artifact` takes."""

    manifest: Manifest
    tensors: Arrays
    private: dict[str, Arrays]
    tables: Mapping[str, Any]

    def write(self, path: Path) -> bytes:
        write_artifact(path, self.manifest, self.tensors, self.private, self.tables)
        return path.read_bytes()

    @property
    def data(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            return self.write(Path(folder) / "family.concertina")


def random_array(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return random bits, so that every byte of the file counts (NaN and odd values included)."""
    kind = DTYPES[dtype]
    if dtype == "BOOL":
        return rng.integers(0, 2, shape).astype(bool)
    raw = rng.bytes(int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
    return np.frombuffer(raw, kind).reshape(shape).copy()


def pattern_array(start: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return bytes that count up, so that golden files do not depend on any random generator."""
    count = int(np.prod(shape, dtype=np.int64))
    if dtype == "BOOL":
        return (np.arange(count) % 3 == 0).reshape(shape)
    size = count * DTYPES[dtype].itemsize
    return ((np.arange(size) * 7 + start) % 251).astype(np.uint8).view(DTYPES[dtype]).reshape(shape).copy()


def same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Return whether two arrays agree in dtype, shape and every bit."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def cut(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return the first `shape` positions of an array."""
    return array[(*(slice(0, side) for side in shape), ...)]


def kept(array: np.ndarray[Any, Any], extent: tuple[tuple[tuple[int, int], ...], ...]) -> np.ndarray[Any, Any]:
    """Return a copy of what an extent keeps of an array, position by position."""
    sides = [[at for start, stop in ranges for at in range(start, stop)] for ranges in extent]
    return array[np.ix_(*(np.array(side, int) for side in sides))] if sides else array.copy()


def point(name: str, spec: SubnetSpec, position: int, share: float) -> Point:
    return Point(name, spec, position, 1000 + int(1000 * share), 100, 400, share, (("accuracy", 0.5 + share / 3),))


def point_private(manifest: Manifest, tensors: Arrays, only: str = "bn") -> dict[str, Arrays]:
    """Return private tensors for all points but the full one: those with `only` in their name, plus one."""
    private = {}
    for each in manifest.points:
        if each.position == len(manifest.steps):
            continue
        pairs = zip(manifest.tensors, manifest.layout.shapes(each.spec), strict=True)
        found = {i.name: cut(tensors[i.name], shape) for i, shape in pairs if shape is not None and only in i.name}
        arrays = {name: np.ascontiguousarray(array[::-1]) for name, array in found.items()}
        private[each.name] = {**arrays, "temperature": np.array([1.5], np.float32)}
    return private


def small_family(extra: bool = True) -> Family:
    """A residual CNN by hand: two width dims, one of them in a block that can be skipped, four points and an extra."""
    shapes = {
        "stem.weight": ("F32", (8, 3, 3, 3)),
        "stem.bn.weight": ("F32", (8,)),
        "block.conv1.weight": ("F32", (12, 8, 3, 3)),
        "block.bn.weight": ("F32", (12,)),
        "block.bn.mean": ("F16", (12,)),
        "block.conv2.weight": ("F32", (8, 12, 3, 3)),
        "head.weight": ("F32", (10, 32)),
        "head.bias": ("F32", (10,)),
        "mask": ("BOOL", (8,)),
        "steps_seen": ("I64", ()),
    }
    infos = tuple(TensorInfo(name, dtype, shape) for name, (dtype, shape) in shapes.items())
    block = tuple(Member(name, -1, "gate") for name in shapes if name.startswith("block."))
    stem = [("stem.weight", 0, "out", 1), ("stem.bn.weight", 0, "norm", 1), ("block.conv1.weight", 1, "in", 1)]
    stem += [("block.conv2.weight", 0, "out", 1), ("head.weight", 1, "in", 4), ("mask", 0, "tied", 1)]
    inner = [("block.conv1.weight", 0, "out", 1), ("block.bn.weight", 0, "norm", 1), ("block.bn.mean", 0, "norm", 1)]
    inner += [("block.conv2.weight", 1, "in", 1)]
    sizes = (SizeAttribute("stem", "out_channels"), SizeAttribute("head", "in_features", 4))
    norm = (SizeAttribute("somewhere.else", "normalized_shape", 1, 0),)
    dims = (
        Dim("width:stem", "width", "stem", (2, 4, 8), tuple(Member(*each) for each in stem), sizes),
        Dim("depth:block", "depth", "block", (0, 1), block),
        Dim("inner", "width", "block.conv1", (3, 6, 9, 12), tuple(Member(*e) for e in inner), norm, ("depth:block",)),
    )
    steps = (0, 1, 2, 2, 0, 2)
    order = GrowthOrder(Space(dims), steps)
    points = [point(f"p{at}", order.spec(at), at, (at + 1) / 7) for at in (0, 2, 4, 6)]
    if extra:
        spec = SubnetSpec.of({"width:stem": 8, "depth:block": 0, "inner": 3})
        points.insert(1, point("no block", spec, -1, 0.4))
    manifest = Manifest(
        Architecture(
            "zoo:tiny", {"classes": 10, "widths": [8, 12], "bias": True, "name": None}, (((2, 3, 8, 8), "F32"),)
        ),
        infos,
        dims,
        steps,
        tuple(points),
        class_names=("Katze", "犬", "a\tb"),
        preprocess=Preprocess(1 / 255, (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)),
        licence="Apache-2.0\nwith a second line",
        core_fingerprint="ab" * 32,
        provenance={"concertina": "0.1.0", "seed": 3, "rate": 0.1},
    )
    tensors = {info.name: pattern_array(i, info.dtype, info.shape) for i, info in enumerate(infos)}
    return Family(manifest, tensors, point_private(manifest, tensors), small_tables())


def small_tables() -> dict[str, Any]:
    low = Record("core", "accuracy", 0.91, "share", n=5500, low=0.9, high=0.92, data="cd" * 32)
    records = [low, replace(low, metric="recall", scope="a\tb", seed=4), replace(low, value=3.5, unit="ms", low=None)]
    order = np.arange(12)[::-1] * 5 % 12
    return {"records": records, "permutation": {"stem": order}, "predictions": b"\0\1\2", "notes": [1, None, "x", 0.5]}


def residual_family(blocks: int, points: int = 5, tensors: Arrays | None = None) -> Family:
    """A CIFAR ResNet by the names of its tensors: width of every block's inside, every block but two can go.

    Args:
        blocks: Blocks a stage: 3 for ResNet-20, 9 for ResNet-56.
        points: How many operating points.
        tensors: Weights to use; made up without.
    """
    shapes = _residual_shapes(blocks)
    infos = tuple(TensorInfo(name, "F32", shape) for name, shape in shapes.items())
    dims: list[Dim] = []
    for stage, width in enumerate((16, 32, 64), 1):
        for block in range(blocks):
            dims += _block_dims(f"layer{stage}.{block}", width, list(shapes), gate=stage == 1 or block > 0)
    space, rng = Space(tuple(dims)), np.random.default_rng(blocks)
    steps = _random_steps(rng, space)
    order = GrowthOrder(space, steps)
    ends = [len(steps) * i // (points - 1) for i in range(points)]
    manifest = Manifest(
        Architecture("zoo:cifar-resnet", {"blocks": blocks}, (((2, 3, 32, 32), "F32"),)),
        infos,
        space.dims,
        steps,
        tuple(point(f"p{100 * at // len(steps)}", order.spec(at), at, (at + 1) / (len(steps) + 1)) for at in ends),
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        preprocess=Preprocess(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        licence="BSD-2-Clause",
        core_fingerprint="ab" * 32,
        provenance={"concertina": "0.1.0", "torch": "2.13.0", "recipe": "sandwich", "seed": 0},
    )
    tensors = tensors or {info.name: rng.standard_normal(info.shape, dtype=np.float32) for info in infos}
    records = [
        Record(each.spec.text, "recall", 0.5 + i / 100, "share", n=550, scope=name, data="ef" * 32)
        for each in manifest.points
        for i, name in enumerate(manifest.class_names)
    ]
    order_of_units = {dim.target: rng.permutation(dim.original) for dim in dims if not dim.is_gate}
    return Family(manifest, tensors, point_private(manifest, tensors), {"records": records, "order": order_of_units})


def _residual_shapes(blocks: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (16, 3, 3, 3), **_norm("bn1", 16)}
    inputs = 16
    for stage, width in enumerate((16, 32, 64), 1):
        for block in range(blocks):
            path = f"layer{stage}.{block}"
            shapes |= {f"{path}.conv1.weight": (width, inputs, 3, 3), **_norm(f"{path}.bn1", width)}
            shapes |= {f"{path}.conv2.weight": (width, width, 3, 3), **_norm(f"{path}.bn2", width)}
            inputs = width
    shapes |= {"linear.weight": (10, 64), "linear.bias": (10,)}
    return dict(sorted(shapes.items(), key=lambda item: "running" in item[0]))


def _norm(path: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{path}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")}


def _block_dims(path: str, width: int, names: list[str], gate: bool) -> list[Dim]:
    inside = [Member(name, 0, "norm") for name in names if name.startswith(f"{path}.bn1.")]
    inside = [Member(f"{path}.conv1.weight", 0, "out"), *inside, Member(f"{path}.conv2.weight", 1, "in")]
    sizes = [("conv1", "out_channels"), ("bn1", "num_features"), ("conv2", "in_channels")]
    attributes = tuple(SizeAttribute(f"{path}.{module}", name) for module, name in sizes)
    chunk, needs = width // 8, (f"depth:{path}",) if gate else ()
    choices = tuple(range(chunk, width + 1, chunk))
    target = f"{path}.conv1"
    found = [Dim(f"width:{target}", "width", target, choices, tuple(inside), attributes, needs)]
    if gate:
        whole = tuple(Member(name, -1, "gate") for name in names if name.startswith(f"{path}."))
        found.insert(0, Dim(f"depth:{path}", "depth", path, (0, 1), whole))
    return found


def random_family(seed: int) -> Family:
    """A family with random tensors of all dtypes, random dims, gates, growth order, points and extras."""
    rng = np.random.default_rng(seed)
    gates = [f"depth:b{i}" for i in range(rng.integers(0, 3))]
    sized = {f"size:s{i}": _choices(rng) for i in range(rng.integers(0, 4))}
    members: dict[str, list[Member]] = {name: [] for name in (*gates, *sized)}
    infos = [_random_tensor(rng, f"t{i}", gates, sized, members) for i in range(rng.integers(1, 9))]
    dims = [Dim(n, "depth", n[6:], (0, 1) if rng.random() < 0.8 else (1,), tuple(members[n])) for n in gates]
    gate_dims = tuple(dims)
    for name, choices in sized.items():
        needs = tuple(d.name for d in gate_dims if d.choices == (0, 1) and rng.random() < 0.3)
        dims.append(Dim(name, "size", name[5:], choices, tuple(members[name]), (), needs))
    space = Space(tuple(dims))
    steps = _random_steps(rng, space)
    order = GrowthOrder(space, steps)
    on_order = sorted({int(at) for at in rng.integers(0, len(steps) + 1, rng.integers(0, 4))})
    points = [point(f"p{at}", order.spec(at), at, (at + 1) / (len(steps) + 1)) for at in on_order]
    points += [point(f"x{i}", random_spec(rng, space), -1, 0.5) for i in range(rng.integers(0, 3))]
    manifest = Manifest(Architecture("module:Random"), tuple(infos), tuple(dims), steps, tuple(points))
    tensors = {info.name: random_array(rng, info.dtype, info.shape) for info in infos}
    private = {each.name: _random_private(rng, manifest, each) for each in points}
    return Family(manifest, tensors, private, {"seed": seed} if rng.random() < 0.5 else {})


def random_spec(rng: np.random.Generator, space: Space) -> SubnetSpec:
    return space.check(SubnetSpec.of({dim.name: int(rng.choice(dim.choices)) for dim in space.dims}))


def _choices(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(sorted({int(c) for c in rng.integers(0, 7, rng.integers(1, 4))}))


def _random_tensor(
    rng: np.random.Generator,
    name: str,
    gates: list[str],
    sized: dict[str, tuple[int, ...]],
    members: dict[str, list[Member]],
) -> TensorInfo:
    shape = []
    for side in range(rng.integers(0, 4)):
        dim = str(rng.choice([*sized, ""]))
        positions = int(rng.integers(1, 3))
        if dim and rng.random() < 0.4:
            shape.append(_random_runs(rng, name, side, sized, members))
            continue
        shape.append(sized[dim][-1] * positions if dim else int(rng.integers(0, 5)))
        if dim:
            members[dim].append(Member(name, side, "out", positions))
    for gate in gates:
        if rng.random() < 0.3:
            members[gate].append(Member(name, -1, "gate"))
    return TensorInfo(name, str(rng.choice(list(DTYPES))), tuple(shape))


def _random_runs(
    rng: np.random.Generator,
    name: str,
    side: int,
    sized: dict[str, tuple[int, ...]],
    members: dict[str, list[Member]],
) -> int:
    """Let a side follow one to three dims, maybe one of them twice, in runs with gaps between; return its length."""
    runs, at = [], int(rng.integers(0, 3))
    for dim in rng.choice(list(sized), rng.integers(1, 4)):
        positions = int(rng.integers(1, 3))
        runs.append((str(dim), positions, at))
        at += sized[str(dim)][-1] * positions + int(rng.integers(0, 2))
    if at == 0:
        return 0
    for dim, positions, start in runs:
        members[dim].append(Member(name, side, "in", positions, start, at))
    return at


def _random_steps(rng: np.random.Generator, space: Space) -> tuple[int, ...]:
    index = {dim.name: i for i, dim in enumerate(space.dims)}
    level, steps = [0] * len(space.dims), []
    while True:
        free = [
            i
            for i, dim in enumerate(space.dims)
            if level[i] + 1 < len(dim.choices) and all(level[index[need]] for need in dim.needs)
        ]
        if not free:
            return tuple(steps)
        steps.append(int(rng.choice(free)))
        level[steps[-1]] += 1


def _random_private(rng: np.random.Generator, manifest: Manifest, each: Point) -> Arrays:
    pairs = zip(manifest.tensors, manifest.layout.shapes(each.spec), strict=True)
    found = {
        i.name: random_array(rng, i.dtype, shape) for i, shape in pairs if shape is not None and rng.random() < 0.3
    }
    if rng.random() < 0.2:
        found["extra"] = random_array(rng, "U16", (3,))
    return found
