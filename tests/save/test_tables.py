"""Tables: records, arrays, bytes and plain data come back as they were."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.save.builders import random_array, same

from concertina.errors import ConcertinaError, DtypeError, HeaderError, ShapeError
from concertina.save import DTYPES
from concertina.save.strict import MAX_INTEGER
from concertina.save.tables import pack, unpack
from concertina.types import Record

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-MAX_INTEGER, MAX_INTEGER)
PLAIN = st.recursive(
    st.none() | st.booleans() | WHOLE | NUMBER | TEXT | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(lambda t: t[:1] != "$"), inner, max_size=4),
    max_leaves=20,
)
RECORDS = st.builds(
    Record,
    *(TEXT, TEXT, NUMBER, TEXT, st.integers(0, 10**6), st.none() | NUMBER, st.none() | NUMBER, st.none() | WHOLE),
    *(TEXT, TEXT, TEXT, TEXT),
)


@given(st.dictionaries(TEXT.filter(lambda text: text[:1] != "$"), PLAIN, max_size=4))
def test_plain_data_comes_back(tables: dict[str, Any]) -> None:
    assert unpack(pack(tables)) == tables


@given(st.lists(RECORDS, min_size=1, max_size=30), st.booleans())
def test_records_come_back(records: list[Record], alike: bool) -> None:
    if alike:
        records = [replace(records[0], value=record.value) for record in records]
    found = unpack(pack({"deep": [{"records": records}]}))["deep"][0]["records"]
    assert found == records
    assert [repr(record.value) for record in found] == [repr(record.value) for record in records]


@pytest.mark.parametrize("dtype", [text for text in DTYPES if text not in ("BF16", "F8_E4M3", "F8_E5M2")])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_arrays_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = random_array(np.random.default_rng(0), dtype, shape)
    found = unpack(pack({"a": array}))["a"]
    assert same(found, array)
    assert found.flags.writeable
    swapped = array.byteswap().view(array.dtype.newbyteorder(">"))
    assert same(unpack(pack({"a": swapped}))["a"], array)


def test_numpy_numbers_are_numbers() -> None:
    assert unpack(pack({"a": np.int64(3), "b": np.float32(0.5), "c": np.True_})) == {"a": 3, "b": 0.5, "c": True}


def test_shared_values_stand_once() -> None:
    alike = [Record("core", "recall", float(i), "share", scope="x" * 80, machine="y" * 80) for i in range(200)]
    assert len(pack({"r": alike})) < 1_200


def test_no_records_is_an_empty_list() -> None:
    assert unpack(pack({"records": []})) == {"records": []}


def test_columns_of_a_later_release_may_be_missing() -> None:
    """A field with a default that an old file does not have takes the default."""
    record = Record("core", "accuracy", 1.0, "share")
    text = b'{"r":{"$records":{"spec":"core","metric":"accuracy","value":[1.0],"unit":"share"}}}'
    import zlib

    assert unpack(len(text).to_bytes(8, "little") + zlib.compress(text))["r"] == [record]
    assert len(fields(Record)) == 12


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ({1: 2}, HeaderError, "text that does not start"),
        ({"$array": 1}, HeaderError, "text that does not start"),
        ({"a": "\ud800"}, HeaderError, "control"),
        (2**60, HeaderError, "integer"),
        (float("inf"), HeaderError, "finite"),
        ({1, 2}, HeaderError, "lists and objects"),
        (np.array(["a"]), DtypeError, "U1"),
        (np.array([1 + 2j]), DtypeError, "complex128"),
        ([Record("core", "m", float("nan"), "x")], HeaderError, "finite"),
        ([Record("core", "m", 1.0, "x", n=2.5)], HeaderError, "n: got 2.5; allowed: int"),  # type: ignore[arg-type]
        ([Record("core", "m", 1.0, "x"), "y"], HeaderError, "lists and objects"),
        (np.zeros(40 * 2**20, np.uint8), HeaderError, "up to"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_table_is_refused(value: object, error: type[ConcertinaError], words: str) -> None:
    with pytest.raises(error, match=words):
        pack({"a": value})


def test_what_is_nested_too_deeply_is_refused_when_written() -> None:
    value: Any = 1
    for _ in range(26):
        value = [value]
    with pytest.raises(HeaderError, match="nested too deeply"):
        pack({"a": value})
    assert unpack(pack({"a": value[0][0]})) == {"a": value[0][0]}


def test_nothing_is_inflated_beyond_what_is_declared() -> None:
    with pytest.raises(ShapeError, match="declared"):
        unpack((2**40).to_bytes(8, "little"))
