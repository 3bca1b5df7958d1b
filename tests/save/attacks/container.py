"""Attacks on the container: lengths, offsets, hashes, JSON."""

from __future__ import annotations

import json
import pickle
import struct

import numpy as np
from safetensors.numpy import save
from tests.save.attacks.base import attack, sound
from tests.save.forge import PREFIX, Parts, join, seal

from concertina.errors import (
    DtypeError,
    HashError,
    HeaderError,
    LayoutError,
    MagicError,
    ShapeError,
    TruncatedError,
)


def header_text(parts: Parts) -> str:
    data = join(parts)
    return data[8 : 8 + struct.unpack("<Q", data[:8])[0]].decode().rstrip()


def resealed(parts: Parts, old: str, new: str) -> bytes:
    """Return the file with one piece of its header text changed and the hash made to fit."""
    text = header_text(parts)
    assert old in text
    return seal(text.replace(old, new, 1).encode(), b"".join(parts.blobs.values()))


@attack(TruncatedError, "0 bytes")
def empty_file(parts: Parts) -> bytes:
    return b""


@attack(TruncatedError, "whole header")
def only_a_length(parts: Parts) -> bytes:
    return sound()[:8]


@attack(MagicError, "safetensors file of another kind")
def plain_weights(parts: Parts) -> bytes:
    return save({"weight": np.zeros((3, 4), np.float32)}, {"format": "pt"})


@attack(MagicError, "safetensors file of another kind")
def another_format_name(parts: Parts) -> bytes:
    return save({"stage.0": np.zeros(4, np.uint8)}, {"format": "concertinb", "concertina": "{}"})


@attack(MagicError, "pickle")
def a_pickle(parts: Parts) -> bytes:
    return pickle.dumps({"a": list(range(100))})


@attack(MagicError, "zip")
def a_zip(parts: Parts) -> bytes:
    return b"PK\x03\x04" + bytes(200)


@attack(MagicError, "bytes")
def a_text(parts: Parts) -> bytes:
    return b"import os; os.system('true')\n" * 9


@attack(HeaderError, "100000000")
def oversize_header(parts: Parts) -> bytes:
    return struct.pack("<Q", 100_000_008) + sound()[8:]


@attack(HeaderError, "header length")
def negative_header(parts: Parts) -> bytes:
    return struct.pack("<q", -8) + sound()[8:]


@attack(HeaderError, "multiple of 8")
def unaligned_header(parts: Parts) -> bytes:
    return struct.pack("<Q", len(header_text(parts)) // 8 * 8 - 1) + sound()[8:]


@attack(TruncatedError, "a header of")
def header_beyond_the_file(parts: Parts) -> bytes:
    return struct.pack("<Q", 99_999_992) + sound()[8:]


@attack(HeaderError, "header length")
def header_shorter_than_its_start(parts: Parts) -> bytes:
    return struct.pack("<Q", 64) + sound()[8:]


@attack(HashError, "header")
def header_changed_after_signing(parts: Parts) -> bytes:
    return sound().replace(b"zoo:tiny", b"zoo:evil")


@attack(HeaderError, "every key once")
def doubled_blob(parts: Parts) -> bytes:
    return resealed(parts, '"stage.1":', '"stage.0":')


@attack(HeaderError, "every key once")
def doubled_metadata(parts: Parts) -> bytes:
    return resealed(parts, '"stage.0":{', '"__metadata__":{},"stage.0":{')


@attack(HeaderError, "UTF-8")
def header_not_utf8(parts: Parts) -> bytes:
    text = header_text(parts).encode().replace(b"zoo:tiny", b"zoo:\xff\xfe\xfd")
    return seal(text, b"".join(parts.blobs.values()))


@attack(HeaderError, "no JSON|unbalanced")
def header_cut_json(parts: Parts) -> bytes:
    return seal(header_text(parts)[:-40].encode(), b"".join(parts.blobs.values()))


@attack(HeaderError, "32 levels")
def header_nested_deeply(parts: Parts) -> bytes:
    return resealed(parts, '"stage.0":', '"stage.0":' + "[" * 100_000 + "]" * 100_000 + ',"x":')


@attack(HeaderError, "32 levels")
def header_of_open_brackets(parts: Parts) -> bytes:
    return seal(PREFIX + b" " * 64 + b'","a":' + b"[" * 5_000_000, b"")


@attack(HeaderError, "no JSON|unbalanced")
def header_of_escaped_quotes(parts: Parts) -> bytes:
    return seal(PREFIX + b" " * 64 + b'","a":"' + b'\\"' * 2_000_000 + b"\\", b"")


@attack(HeaderError, "finite")
def header_with_nan(parts: Parts) -> bytes:
    return resealed(parts, '"shape":[', '"shape":[NaN,')


@attack(HeaderError, "2\\*\\*53")
def header_with_a_huge_integer(parts: Parts) -> bytes:
    return resealed(parts, '"shape":[', '"shape":[' + "9" * 100_000 + ",")


@attack(HeaderError, "finite")
def header_with_a_huge_float(parts: Parts) -> bytes:
    return resealed(parts, '"shape":[', '"shape":[1e999,')


@attack(HeaderError, "keys")
def metadata_with_more_keys(parts: Parts) -> None:
    parts.metadata["code"] = "__import__('os').system('true')"


@attack(HeaderError, "keys")
def metadata_without_hashes(parts: Parts) -> bytes:
    return resealed(parts, '"sha256":', '"sha257":')


@attack(HeaderError, "text")
def metadata_no_text(parts: Parts) -> None:
    parts.metadata["concertina"] = {"version": 1}


@attack(HeaderError, "keys")
def a_hash_too_few(parts: Parts) -> bytes:
    text = header_text(parts).replace('\\"stage.1\\"', '\\"stage.9\\"', 1)
    return seal(text.encode(), b"".join(parts.blobs.values()))


@attack(HeaderError, "hexadecimal")
def a_hash_no_hash(parts: Parts) -> None:
    parts.hashes["stage.1"] = "f" * 63 + "G"


@attack(HeaderError, "hexadecimal")
def a_hash_a_number(parts: Parts) -> None:
    parts.hashes["stage.1"] = 7


@attack(HashError, "stage.1")
def bad_hash_of_a_stage(parts: Parts) -> None:
    parts.hashes["stage.1"] = "0" * 64


@attack(HashError, "private.p2")
def bad_hash_of_private(parts: Parts) -> None:
    parts.hashes["private.p2"] = "0" * 64


@attack(HashError, "tables")
def bad_hash_of_tables(parts: Parts) -> None:
    parts.hashes["tables"] = "0" * 64


def entry(start: int, end: int, **other: object) -> dict[str, object]:
    return {"dtype": "U8", "shape": [end - start], "data_offsets": [start, end], **other}


@attack(LayoutError, "overlap")
def overlapping_stages(parts: Parts) -> None:
    size = len(parts.blobs["stage.0"])
    parts.entries["private.p0"] = entry(size - 4, size - 4 + len(parts.blobs["private.p0"]))


@attack(LayoutError, "overlap")
def stage_that_ends_before_it_starts(parts: Parts) -> None:
    parts.entries["stage.0"] = {"dtype": "U8", "shape": [0], "data_offsets": [0, -8]} | {"data_offsets": [8, 0]}


@attack(HeaderError, "integer from 0")
def negative_offset(parts: Parts) -> None:
    parts.entries["stage.0"] = {"dtype": "U8", "shape": [8], "data_offsets": [-8, 0]}


@attack(LayoutError, "hole")
def hole_before_the_first_stage(parts: Parts) -> None:
    parts.entries["stage.0"] = entry(8, 8 + len(parts.blobs["stage.0"]))


@attack(LayoutError, "hole")
def hole_between_stages(parts: Parts) -> None:
    size = len(parts.blobs["stage.0"])
    parts.entries["private.p0"] = entry(size + 8, size + 8 + len(parts.blobs["private.p0"]))


@attack(DtypeError, "U8")
def stage_of_floats(parts: Parts) -> None:
    parts.entries["stage.0"] = entry(0, len(parts.blobs["stage.0"]), dtype="F32")


@attack(DtypeError, "U8")
def stage_of_an_unheard_dtype(parts: Parts) -> None:
    parts.entries["stage.0"] = entry(0, len(parts.blobs["stage.0"]), dtype=["U8"])


@attack(ShapeError, "shape")
def shape_is_not_the_offsets(parts: Parts) -> None:
    parts.entries["stage.0"] = entry(0, len(parts.blobs["stage.0"]), shape=[len(parts.blobs["stage.0"]) + 1])


@attack(ShapeError, "shape")
def stage_with_two_sides(parts: Parts) -> None:
    parts.entries["stage.0"] = entry(0, len(parts.blobs["stage.0"]), shape=[1, len(parts.blobs["stage.0"])])


@attack(HeaderError, "integer")
def shape_of_booleans(parts: Parts) -> None:
    parts.entries["stage.0"] = entry(0, len(parts.blobs["stage.0"]), shape=[True])


@attack(HeaderError, "keys")
def stage_with_a_file_name(parts: Parts) -> None:
    parts.entries["stage.0"] = entry(0, len(parts.blobs["stage.0"]), path="../../etc/passwd")


@attack(HeaderError, "object")
def stage_that_is_a_text(parts: Parts) -> None:
    parts.entries["stage.0"] = "zlib"


@attack(ShapeError, "stage.0")
def stage_too_short_for_its_tensors(parts: Parts) -> None:
    parts.blobs["stage.0"] = parts.blobs["stage.0"][:-4]


@attack(ShapeError, "private.p0")
def private_too_long(parts: Parts) -> None:
    parts.blobs["private.p0"] += b"\0\0\0\0"


@attack(LayoutError, "stage.1")
def missing_stage(parts: Parts) -> None:
    del parts.blobs["stage.1"]


@attack(LayoutError, "smuggled")
def smuggled_blob(parts: Parts) -> None:
    parts.blobs["smuggled"] = b"import os"


@attack(LayoutError, "blob")
def stages_in_another_order(parts: Parts) -> None:
    parts.blobs = dict(reversed(parts.blobs.items()))


@attack(LayoutError, "after the last blob")
def trailing_bytes(parts: Parts) -> bytes:
    return sound() + b"\0"


@attack(LayoutError, "after the last blob")
def a_second_file_behind(parts: Parts) -> bytes:
    return sound() + sound()


@attack(TruncatedError, "p6|everything")
def cut_in_the_tables(parts: Parts) -> bytes:
    return sound()[:-1]


@attack(HeaderError, "printable")
def blob_name_with_nul(parts: Parts) -> None:
    parts.blobs["a\0b"] = b""


@attack(TruncatedError, "everything")
def a_terabyte_declared(parts: Parts) -> None:
    """Sizes that agree with each other and not with the file."""
    parts.manifest |= {"names": ["big"], "shapes": [[2**38]], "dtypes": [["F32", 1]]}
    parts.manifest |= {"dims": [], "steps": [], "points": [["p", 0, 0, 0, 0, 1.0, {}]]}
    parts.blobs = {}
    parts.entries["stage.0"] = entry(0, 2**40)
    parts.hashes["stage.0"] = "0" * 64


@attack(HeaderError, "hashes")
def hashes_are_a_list(parts: Parts) -> None:
    parts.metadata["sha256"] = json.dumps([])
