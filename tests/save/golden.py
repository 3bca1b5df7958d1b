"""The families of the golden files: by hand, without a random generator, one for every kind of growth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.save.builders import Family, pattern_array, point, small_family

from concertina.save import Architecture, Manifest, TensorInfo
from concertina.types import Dim, GrowthOrder, Member, Space


def golden_families() -> dict[str, Family]:
    """Return name -> family; those without tables must come out byte for byte the same for ever."""
    width_depth = small_family()
    return {
        "width-depth": replace(width_depth, tables={}),
        "rank": rank_family(),
        "augment": with_augment(rank_family()),
        "bit-planes": bits_family(),
        "tables": width_depth,
    }


def with_augment(family: Family) -> Family:
    """Return a family whose file says what it was trained with; the key is optional, the other files lack it."""
    return replace(family, manifest=replace(family.manifest, augment="flip-crop"))


def rank_family() -> Family:
    """A factorised layer, `U (out, r) @ V (r, in)`: a rank step adds a column of U and a row of V."""
    infos = (TensorInfo("fc.U", "F32", (6, 4)), TensorInfo("fc.V", "BF16", (4, 10)), TensorInfo("fc.bias", "F32", (6,)))
    members = (Member("fc.U", 1, "in"), Member("fc.V", 0, "out"))
    return one_dim_family(infos, Dim("rank:fc", "rank", "fc", (1, 2, 4), members), start=3)


def bits_family() -> Family:
    """Weights in bit-planes, the highest bit first: a step adds planes, and with them precision."""
    infos = (TensorInfo("fc.planes", "U8", (8, 12)), TensorInfo("fc.scale", "F16", (6,)))
    dim = Dim("bits:fc", "bits", "fc", (2, 4, 8), (Member("fc.planes", 0, "out"),))
    return one_dim_family(infos, dim, start=11)


def one_dim_family(infos: tuple[TensorInfo, ...], dim: Dim, start: int) -> Family:
    order = GrowthOrder(Space((dim,)), (0,) * (len(dim.choices) - 1))
    points = tuple(point(f"{dim.axis}{c}", order.spec(i), i, c / dim.original) for i, c in enumerate(dim.choices))
    manifest = Manifest(Architecture("zoo:by-hand"), infos, (dim,), order.steps, points)
    tensors = {info.name: pattern_array(start + i, info.dtype, info.shape) for i, info in enumerate(infos)}
    return Family(manifest, tensors, {points[0].name: {"offset": np.array([0.25], np.float32)}}, {})
