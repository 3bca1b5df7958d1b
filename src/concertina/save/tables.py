"""Large tables as one compressed JSON blob: records, permutations, predictions, plain data.

What is no JSON is written as an object with one key from a closed set: `$records` (columns; a value that all
records share stands once), `$array` (dtype, shape, base64) and `$bytes` (base64).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

import numpy as np

from concertina.errors import HeaderError, ShapeError
from concertina.save import strict
from concertina.save.codec import dumps
from concertina.save.layout import from_bytes
from concertina.save.tensors import TensorInfo, dtype_text
from concertina.types import Record

MAX_TABLES = 32 * 2**20
"""Most bytes of the JSON text, before compression."""
MAX_RECORDS = 1_000_000
"""Most records of one list."""
DEEPEST = strict.MAX_DEPTH - 6
"""Deepest nesting of what is handed in; the encoding adds a few levels."""
_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "float": (int, float), "int": (int,), "None": (type(None),)}


def pack(tables: Mapping[str, object]) -> bytes:
    """Return the blob of the tables: 8 bytes with the length of the JSON text, then the text, deflated.

    Args:
        tables: Name -> plain JSON data, in which lists of `Record`, numpy arrays and bytes may stand anywhere.

    Raises:
        HeaderError: Something in it is none of these, a number is not finite, or it is too large.
    """
    text = dumps(_encode(dict(tables), "tables"), "tables").encode()
    if len(text) > MAX_TABLES:
        raise HeaderError("tables", asked=f"{len(text)} bytes", allowed=f"up to {MAX_TABLES}")
    return len(text).to_bytes(8, "little") + zlib.compress(text, 9)


def unpack(data: bytes) -> dict[str, Any]:
    """Return the tables of a blob; never inflates more than it declares.

    Raises:
        ShapeError: The declared length is too large, or not that of the text.
        HeaderError: The text is not what the format says.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > MAX_TABLES:
        raise ShapeError("tables", asked=f"{size} bytes declared", allowed=f"up to {MAX_TABLES}")
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(data[8:], size + 1)
    except zlib.error as error:
        raise HeaderError("tables", asked=f"no zlib stream ({error})") from error
    if len(raw) != size or not inflate.eof or inflate.unused_data:
        raise ShapeError(
            "tables", asked=f"a stream that does not end after {size} bytes", allowed="the declared length"
        )
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise HeaderError("tables", asked="bytes that are not UTF-8") from error
    found = strict.table(strict.parse(text, "tables"), "tables")
    return {
        strict.free_text(key, "table name"): _decode(value, f"table {strict.brief(key)}")
        for key, value in found.items()
    }


def _encode(value: object, where: str, depth: int = DEEPEST) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return {"$array": _encode_array(value, where)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, list | tuple) and value and all(isinstance(item, Record) for item in value):
        return {"$records": _encode_records(value, where)}
    if isinstance(value, Mapping | list | tuple) and depth == 0:
        strict.refuse_words(where, "data nested too deeply", f"{DEEPEST} levels")
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) or key.startswith("$") for key in value):
            strict.refuse(f"{where} keys", list(value), "text that does not start with '$'")
        return {
            strict.free_text(k, where): _encode(item, f"{where}[{strict.brief(k)}]", depth - 1)
            for k, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_encode(item, f"{where}[{i}]", depth - 1) for i, item in enumerate(value)]
    strict.plain(value, where)
    return value


def _decode(value: object, where: str) -> Any:
    if isinstance(value, list):
        return [_decode(item, where) for item in value]
    if not isinstance(value, dict):
        strict.plain(value, where)
        return value
    if not any(key.startswith("$") for key in value):
        return {strict.free_text(key, where): _decode(item, where) for key, item in value.items()}
    kinds = {"$array": _decode_array, "$bytes": _decode_bytes, "$records": _decode_records}
    if len(value) != 1 or next(iter(value)) not in kinds:
        strict.refuse(where, sorted(value), f"one key of {', '.join(kinds)}")
    key, item = next(iter(value.items()))
    return kinds[key](item, where)


def _encode_array(array: np.ndarray[Any, Any], where: str) -> list[Any]:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
    return [dtype_text(little.dtype, where), list(array.shape), base64.b64encode(little.tobytes()).decode()]


def _decode_array(value: object, where: str) -> np.ndarray[Any, Any]:
    dtype, shape, text = strict.listing(value, where, 3, 3)
    info = TensorInfo("array", dtype, strict.integers(shape, where)).check(where)
    data = _decode_bytes(text, where)
    if len(data) != info.nbytes:
        raise ShapeError(where, asked=f"{len(data)} bytes", allowed=f"{info.nbytes} for {dtype} {list(info.shape)}")
    return from_bytes(data, info, 0, info.shape).copy()


def _decode_bytes(value: object, where: str) -> bytes:
    if not isinstance(value, str):
        strict.refuse(where, value, "base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise HeaderError(where, asked=f"no base64 ({error})", allowed="base64 text") from error


def _encode_records(records: Sequence[Record], where: str) -> dict[str, Any]:
    strict.integer(len(records), f"{where} record count", 1, MAX_RECORDS)
    columns: dict[str, Any] = {}
    for item in fields(Record):
        values = [getattr(record, item.name) for record in records]
        for i, value in enumerate(values):
            _check_value(value, item, f"{where} record {i} {item.name}")
        shared = item.name != "value" and all(value == values[0] for value in values)
        columns[item.name] = values[0] if shared else values
    return columns


def _decode_records(value: object, where: str) -> list[Record]:
    table = dict(strict.table(value, f"{where} records"))
    count = len(strict.listing(table.get("value"), f"{where} record value", 1, MAX_RECORDS))
    columns = {item.name: _column(table.pop(item.name, MISSING), item, count, where) for item in fields(Record)}
    if table:
        strict.refuse(f"{where} records", sorted(table), "the columns of a Record")
    rows = zip(*columns.values(), strict=True)
    return [Record(**dict(zip(columns, row, strict=True))) for row in rows]


def _column(raw: object, item: Field[Any], count: int, where: str) -> list[Any]:
    """Return one value for every record; a column that is not there has the field's default."""
    at = f"{where} record {item.name}"
    raw = item.default if raw is MISSING else raw
    if raw is MISSING:
        strict.refuse_words(at, "no such column", "a column for every field without a default")
    if not isinstance(raw, list):
        _check_value(raw, item, at)
        return [raw] * count
    for value in strict.listing(raw, at, count, count):
        _check_value(value, item, at)
    return raw


def _check_value(value: object, item: Field[Any], where: str) -> None:
    """Raise `HeaderError` unless the value is of the field's type, and finite."""
    names = [part.strip() for part in str(item.type).split("|")]
    kinds = tuple(kind for each in names for kind in _KINDS[each])
    if not isinstance(value, kinds) or isinstance(value, bool):
        strict.refuse(where, value, " or ".join(names))
    strict.plain(value, where)
