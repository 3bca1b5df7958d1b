"""Boxes between specs: disjoint, complete, in the order that the format says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.save.builders import kept, random_family, random_spec, same, small_family

from concertina.errors import DtypeError, ShapeError, SpecError
from concertina.save import Layout, TensorInfo
from concertina.types import Dim, Member, Space, SubnetSpec

SEEDS = st.integers(0, 2**32 - 1)


def rising_specs(seed: int, manifest: object) -> list[SubnetSpec]:
    """Return specs that each cover the one before, in random leaps."""
    rng = np.random.default_rng(seed)
    space: Space = manifest.space  # type: ignore[attr-defined]
    specs = [random_spec(rng, space) for _ in range(rng.integers(1, 4))]
    rising = [specs[0]]
    for spec in specs[1:]:
        larger = {name: max(choice, rising[-1][name]) for name, choice in spec.choices}
        rising.append(space.check(SubnetSpec.of(larger)))
    return rising


@settings(max_examples=80)
@given(SEEDS)
def test_boxes_are_disjoint_and_complete(seed: int) -> None:
    manifest = random_family(seed).manifest
    layout, before = manifest.layout, None
    counts = [np.zeros(info.shape, int) for info in manifest.tensors]
    for after in rising_specs(seed, manifest):
        for box in layout.boxes(before, after):
            counts[box.tensor][box.index] += 1
            assert counts[box.tensor][box.index].shape == box.shape
        for count, extent in zip(counts, layout.extents(after), strict=True):
            assert count.max(initial=0) <= 1
            assert count.sum() == (0 if extent is None else kept(np.ones(count.shape, int), extent).sum())
        before = after


@settings(max_examples=80)
@given(SEEDS)
def test_gather_then_scatter_moves_exactly_what_is_gained(seed: int) -> None:
    family = random_family(seed)
    layout, before = family.manifest.layout, None
    rebuilt = {info.name: np.zeros(info.shape, info.numpy_dtype) for info in layout.tensors}
    for after in rising_specs(seed, family.manifest):
        data = layout.gather(family.tensors, before, after)
        assert len(data) == layout.size(after) - layout.size(before)
        layout.scatter(data, rebuilt, before, after)
        for info, extent in zip(layout.tensors, layout.extents(after), strict=True):
            if extent is None:
                assert not rebuilt[info.name].any()
            else:
                assert same(kept(rebuilt[info.name], extent), kept(family.tensors[info.name], extent))
        before = after


@settings(max_examples=80)
@given(SEEDS)
def test_extents_follow_the_members_and_nothing_else(seed: int) -> None:
    manifest = random_family(seed).manifest
    spec = random_spec(np.random.default_rng(seed), manifest.space)
    wanted: dict[str, list[int] | None] = {info.name: list(info.shape) for info in manifest.tensors}
    for dim in (dim for dim in manifest.dims if not dim.is_gate):
        for member in dim.members:
            dropped = (dim.original - spec[dim.name]) * member.positions
            wanted[member.tensor][member.dim] -= dropped  # type: ignore[index]
    for dim in (dim for dim in manifest.dims if dim.is_gate and spec[dim.name] == 0):
        wanted |= {member.tensor: None for member in dim.members}
    assert [None if each is None else tuple(each) for each in wanted.values()] == list(manifest.layout.shapes(spec))


def test_order_within_a_stage() -> None:
    infos = (TensorInfo("half", "F16", (2,)), TensorInfo("wide", "F32", (2, 4)), TensorInfo("next", "F32", ()))
    dims = (
        Dim("a", "a", "x", (1, 2), (Member("wide", 0, "out"),)),
        Dim("b", "b", "x", (2, 4), (Member("wide", 1, "in"),)),
    )
    layout = Layout(infos, Space(dims))
    tensors = {
        "half": np.array([100, 101], np.float16),
        "wide": np.arange(8, dtype=np.float32).reshape(2, 4),
        "next": np.array(50, np.float32),
    }
    small, large = SubnetSpec.of({"a": 1, "b": 2}), SubnetSpec.of({"a": 2, "b": 4})
    first = layout.gather(tensors, None, small)
    assert np.frombuffer(first[:12], np.float32).tolist() == [0, 1, 50]
    assert np.frombuffer(first[12:], np.float16).tolist() == [100, 101]
    second = layout.gather(tensors, small, large)
    assert np.frombuffer(second, np.float32).tolist() == [4, 5, 2, 3, 6, 7]


def test_one_dim_may_own_both_sides_of_a_tensor() -> None:
    both = (Member("square", 0, "out"), Member("square", 1, "in"))
    layout = Layout((TensorInfo("square", "I8", (3, 3)),), Space((Dim("w", "width", "x", (1, 2, 3), both),)))
    square = np.arange(9, dtype=np.int8).reshape(3, 3)
    specs = [SubnetSpec.of({"w": w}) for w in (1, 2, 3)]
    assert layout.gather({"square": square}, specs[0], specs[1]) == bytes([3, 1, 4])
    assert layout.gather({"square": square}, specs[1], specs[2]) == bytes([6, 7, 2, 5, 8])


def test_growth_goes_one_way() -> None:
    manifest = small_family().manifest
    order = manifest.order
    assert manifest.layout.boxes(order.spec(3), order.spec(3)) == []
    with pytest.raises(SpecError, match="shrinks"):
        manifest.layout.boxes(order.spec(3), order.spec(1))
    with pytest.raises(SpecError, match="unknown dim"):
        manifest.layout.extents(SubnetSpec.of({"depth": 3}))


def test_bytes_and_arrays_must_fit() -> None:
    family = small_family()
    layout, order = family.manifest.layout, family.manifest.order
    data = layout.gather(family.tensors, None, order.spec(0))
    with pytest.raises(ShapeError, match="bytes"):
        layout.scatter(data + b"\0", family.tensors, None, order.spec(0))
    with pytest.raises(ShapeError, match="room for"):
        layout.gather(family.tensors | {"stem.weight": np.zeros((1, 3, 3, 3), np.float32)}, None, order.spec(0))
    with pytest.raises(DtypeError, match="float64"):
        layout.gather(family.tensors | {"stem.weight": np.zeros((8, 3, 3, 3))}, None, order.spec(0))


def test_a_bool_is_0_or_1() -> None:
    layout = Layout((TensorInfo("mask", "BOOL", (2,)),), Space(()))
    empty = SubnetSpec.of({})
    assert layout.gather({"mask": np.array([True, False])}, None, empty) == b"\1\0"
    with pytest.raises(DtypeError, match="0 or 1"):
        layout.scatter(b"\1\2", {"mask": np.zeros(2, bool)}, None, empty)
