"""Tensors that lie inside others come back whole from one file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concertina.export.packing import ALIGNMENT, Array, Packing, Place, pack

SHAPES = st.lists(st.integers(1, 5), min_size=0, max_size=4).map(tuple)


def read(blob: bytes, place: Place, dtype: np.dtype) -> Array:
    """Return the tensor at a place, as a runtime would: read, cut, turn."""
    flat = np.frombuffer(blob[place.offset : place.offset + place.num_bytes], dtype)
    stored = flat.reshape(place.stored)
    cut = stored[tuple(slice(0, place.shape[side]) for side in place.sides)]
    return cut.transpose([place.sides.index(side) for side in range(len(place.sides))])


def assert_comes_back(networks: dict[str, dict[str, Array]], packing: Packing) -> None:
    blob = b"".join(packing.chunks())
    assert len(blob) == packing.num_bytes
    for network, tensors in networks.items():
        for name, array in tensors.items():
            found = read(blob, packing.places[network][name], array.dtype)
            np.testing.assert_array_equal(found, array)


@given(SHAPES, st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_corners_of_any_shape_come_back_and_take_no_room(shape: tuple[int, ...], seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    whole = random.normal(size=shape).astype(np.float32)
    networks = {"full": {"w": whole}}
    for index in range(count):
        corner = tuple(slice(0, int(random.integers(1, size + 1))) for size in shape)
        networks[f"n{index}"] = {"other-name": whole[corner].copy() if shape else whole}
    packing = pack(networks)
    assert_comes_back(networks, packing)
    assert packing.num_bytes == whole.nbytes


def test_rows_are_prefixes_columns_are_turned_and_corners_are_cut() -> None:
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    by_rows = pack({"full": {"w": whole}, "small": {"w": whole[:2]}}).places
    assert by_rows["small"]["w"].is_prefix
    assert by_rows["full"]["w"].is_prefix
    by_columns = pack({"full": {"w": whole}, "small": {"w": whole[:, :1]}}).places["small"]["w"]
    assert (by_columns.num_bytes, by_columns.stored, by_columns.sides) == (12, (1, 3), (1, 0))
    by_both = pack({"full": {"w": whole}, "small": {"w": whole[:2, :1]}}).places["small"]["w"]
    assert (by_both.num_bytes, by_both.stored, by_both.shape) == (32, (2, 4), (2, 1))


def test_tensors_that_differ_in_one_value_dtype_or_rank_are_kept_apart() -> None:
    whole = np.arange(64, dtype=np.float32).reshape(8, 8)
    changed = whole[:4].copy()
    changed[-1, -1] += 1
    others = {"changed": changed, "double": whole.astype(np.float64), "flat": whole.reshape(-1)}
    networks = {"full": {"w": whole}, "small": others}
    packing = pack(networks)
    assert_comes_back(networks, packing)
    assert len(packing.blobs) == 4
    assert all(offset % ALIGNMENT == 0 for offset, _ in packing.blobs)


@pytest.mark.parametrize("order", [("full", "small"), ("small", "full")])
def test_the_order_of_networks_does_not_matter(order: tuple[str, str]) -> None:
    whole = np.arange(40, dtype=np.int64).reshape(10, 4)
    made = {"full": {"w": whole}, "small": {"w": whole[:3]}}
    assert pack({name: made[name] for name in order}).num_bytes == whole.nbytes


def test_not_a_number_equals_itself_bit_by_bit() -> None:
    whole = np.full((4, 2), np.nan, dtype=np.float32)
    assert pack({"full": {"w": whole}, "small": {"w": whole[:2]}}).num_bytes == whole.nbytes
