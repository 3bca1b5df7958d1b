"""Attacks on the tables: bombs, false lengths, tags, records."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

from tests.save.attacks.base import attack
from tests.save.forge import Parts, tables_blob

from concertina.errors import DtypeError, HeaderError, ShapeError

MOST = 32 * 2**20


def put(parts: Parts, value: Any) -> None:
    parts.blobs["tables"] = tables_blob(json.dumps(value).encode())


def columns(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = {"spec": "core", "metric": "accuracy", "value": [0.5, 0.6], "unit": "share", "n": 5}
    return {"records": {"$records": {k: v for k, v in (table | changes).items() if v is not ...}}}


@attack(ShapeError, "declared")
def tables_too_short(parts: Parts) -> None:
    parts.blobs["tables"] = b"\0\0\0"


@attack(ShapeError, "declared")
def tables_declare_a_terabyte(parts: Parts) -> None:
    parts.blobs["tables"] = tables_blob(b"{}", 2**40)


@attack(ShapeError, "does not end")
def zip_bomb(parts: Parts) -> None:
    """Sixty-four megabytes in sixty-four kilobytes, said to be two bytes."""
    engine = zlib.compressobj(9)
    bomb = b"".join(engine.compress(bytes(2**20)) for _ in range(64)) + engine.flush()
    parts.blobs["tables"] = struct.pack("<Q", 2) + bomb


@attack(ShapeError, "does not end")
def tables_longer_than_declared(parts: Parts) -> None:
    parts.blobs["tables"] = tables_blob(b'{"a": 1}', 7)


@attack(ShapeError, "does not end")
def tables_shorter_than_declared(parts: Parts) -> None:
    parts.blobs["tables"] = tables_blob(b'{"a": 1}', 9)


@attack(ShapeError, "does not end")
def tables_with_something_behind(parts: Parts) -> None:
    parts.blobs["tables"] = tables_blob(b"{}") + b"import os"


@attack(ShapeError, "does not end")
def tables_cut_stream(parts: Parts) -> None:
    parts.blobs["tables"] = tables_blob(b'{"a": "bcdefgh"}')[:-3]


@attack(HeaderError, "zlib")
def tables_no_zlib(parts: Parts) -> None:
    parts.blobs["tables"] = struct.pack("<Q", 9) + b"not zlib!"


@attack(HeaderError, "UTF-8")
def tables_not_utf8(parts: Parts) -> None:
    parts.blobs["tables"] = tables_blob(b'{"a": "\xff"}')


@attack(HeaderError, "32 levels")
def tables_nested_deeply(parts: Parts) -> None:
    parts.blobs["tables"] = tables_blob(b"[" * 10**6 + b"]" * 10**6)


@attack(HeaderError, "every key once")
def tables_doubled_key(parts: Parts) -> None:
    parts.blobs["tables"] = tables_blob(b'{"a": 1, "a": 2}')


@attack(HeaderError, "finite")
def tables_infinity(parts: Parts) -> None:
    parts.blobs["tables"] = tables_blob(b'{"a": Infinity}')


@attack(HeaderError, "object")
def tables_a_list(parts: Parts) -> None:
    put(parts, [1])


@attack(HeaderError, "characters")
def tables_lone_surrogate(parts: Parts) -> None:
    put(parts, {"a": ["\ud800"]})


@attack(HeaderError, "characters")
def tables_key_with_nul(parts: Parts) -> None:
    put(parts, {"a": {"\0": 1}})


@attack(HeaderError, r"\$array, \$bytes, \$records")
def tables_unknown_tag(parts: Parts) -> None:
    put(parts, {"a": {"$object": "os.system"}})


@attack(HeaderError, "one key")
def tables_two_tags(parts: Parts) -> None:
    put(parts, {"a": {"$bytes": "", "b": 1}})


@attack(HeaderError, "base64")
def bytes_no_base64(parts: Parts) -> None:
    put(parts, {"a": {"$bytes": "a*b="}})


@attack(HeaderError, "base64")
def bytes_no_ascii(parts: Parts) -> None:
    put(parts, {"a": {"$bytes": "äöü="}})


@attack(HeaderError, "base64")
def bytes_a_number(parts: Parts) -> None:
    put(parts, {"a": {"$bytes": 5}})


@attack(DtypeError, "dtype")
def array_of_objects(parts: Parts) -> None:
    put(parts, {"a": {"$array": ["O", [1], "AAAAAAAAAAA="]}})


@attack(ShapeError, "bytes")
def array_of_a_terabyte(parts: Parts) -> None:
    put(parts, {"a": {"$array": ["F64", [2**37], "AAAA"]}})


@attack(HeaderError, "integer")
def array_negative(parts: Parts) -> None:
    put(parts, {"a": {"$array": ["U8", [-1], "AA=="]}})


@attack(HeaderError, "items")
def array_of_two(parts: Parts) -> None:
    put(parts, {"a": {"$array": ["U8", [1]]}})


@attack(DtypeError, "0 or 1")
def array_with_a_bool_of_two(parts: Parts) -> None:
    put(parts, {"a": {"$array": ["BOOL", [1], "Ag=="]}})


@attack(HeaderError, "columns of a Record")
def record_with_a_column_more(parts: Parts) -> None:
    put(parts, columns(__class__="os"))


@attack(HeaderError, "no such column")
def record_with_a_column_less(parts: Parts) -> None:
    put(parts, columns(unit=...))


@attack(HeaderError, "list")
def record_values_shared(parts: Parts) -> None:
    put(parts, columns(value=0.5))


@attack(HeaderError, "items")
def record_columns_of_two_lengths(parts: Parts) -> None:
    put(parts, columns(n=[1, 2, 3]))


@attack(HeaderError, "float")
def record_value_a_text(parts: Parts) -> None:
    put(parts, columns(value=[0.5, "0.6"]))


@attack(HeaderError, "float")
def record_value_null(parts: Parts) -> None:
    put(parts, columns(value=[0.5, None]))


@attack(HeaderError, "int")
def record_count_a_bool(parts: Parts) -> None:
    put(parts, columns(n=True))


@attack(HeaderError, "str")
def record_metric_a_list(parts: Parts) -> None:
    put(parts, columns(metric=[["accuracy"], "recall"]))


@attack(HeaderError, "characters")
def record_scope_with_escape_sequence(parts: Parts) -> None:
    put(parts, columns(scope="\x1b[2J"))


@attack(HeaderError, "object")
def records_a_list(parts: Parts) -> None:
    put(parts, {"records": {"$records": []}})


@attack(HeaderError, "items")
def records_none(parts: Parts) -> None:
    put(parts, columns(value=[]))


@attack(HeaderError, "items")
def records_by_the_million(parts: Parts) -> None:
    put(parts, columns(value=[0] * 1_000_001))
