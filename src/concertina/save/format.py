"""The container: an 8-byte length, a JSON header, and one blob of bytes after another.

A whole file is a valid safetensors file in which every blob is a U8 tensor. Nothing here knows what the blobs hold.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from concertina.errors import (
    DtypeError,
    HashError,
    HeaderError,
    InputError,
    LayoutError,
    MagicError,
    ShapeError,
    TruncatedError,
)
from concertina.save import strict
from concertina.save.codec import dumps
from concertina.save.sources import ByteSource

MAX_HEADER = 100_000_000
"""Longest header in bytes, that of safetensors."""
MAGIC = b'{"__metadata__":{"format":"concertina","header_sha256":"'
"""What every header starts with; the hash of the header follows at once."""
BLANK = " " * 64
"""What stands in the place of the header's own hash while it is computed."""
DAMAGED = "The file is damaged: fetch it again."
_START = 8 + len(MAGIC)
_HEX = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Blob:
    """One range of bytes of the file."""

    name: str
    """Its name in the header: "stage.0", "private.p50", "tables"."""
    start: int
    """Offset of its first byte in the file."""
    end: int
    """Offset after its last byte in the file."""
    sha256: str
    """SHA-256 of its bytes, 64 hexadecimal digits."""

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.end - self.start


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say."""

    manifest: str
    """The manifest as JSON text."""
    blobs: tuple[Blob, ...]
    """All blobs, in file order, without holes."""
    sha256: str
    """SHA-256 of the header; it pins the whole file, as the header holds the hashes of all blobs."""
    size: int
    """Bytes before the first blob."""

    @property
    def file_size(self) -> int:
        """Bytes of the whole file."""
        return self.blobs[-1].end if self.blobs else self.size


def build_header(manifest: str, sizes: Sequence[tuple[str, int]], hashes: Mapping[str, str]) -> bytes:
    """Return the first bytes of a file, up to its first blob.

    Args:
        manifest: The manifest as JSON text.
        sizes: (name, length in bytes) of every blob, in file order.
        hashes: SHA-256 of the blobs; `BLANK` stands for those left out, so the length does not depend on them.

    Raises:
        HeaderError: The header would be longer than `MAX_HEADER`.
    """
    metadata = {
        "format": "concertina",
        "header_sha256": BLANK,
        "concertina": manifest,
        "sha256": dumps({name: hashes.get(name, BLANK) for name, _ in sizes}, "hashes"),
    }
    table: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for name, size in sizes:
        table[name] = {"dtype": "U8", "shape": [size], "data_offsets": [offset, offset + size]}
        offset += size
    text = dumps(table, "header").encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise HeaderError("header", asked=f"{len(text)} bytes", allowed=f"up to {MAX_HEADER}")
    return sign(len(text).to_bytes(8, "little") + text)


def sign(header: bytes) -> bytes:
    """Return the header with its own hash in its place."""
    return header[:_START] + header_hash(header).encode() + header[_START + 64 :]


def header_hash(header: bytes) -> str:
    """Return the SHA-256 of a header, computed with its own hash blank."""
    return hashlib.sha256(header[:_START] + BLANK.encode() + header[_START + 64 :]).hexdigest()


def read_header(source: ByteSource, *, sha256: str | None = None) -> Header:
    """Return the header of a file, its hash checked before anything of it is believed.

    Args:
        source: The file.
        sha256: The header's hash as you know it from elsewhere; None to trust the file's own.

    Raises:
        MagicError: Not a concertina file.
        TruncatedError: The file ends inside the header.
        HashError: The header's bytes are not those that were written, or not those you pinned.
        HeaderError, LayoutError, DtypeError, ShapeError: The header is not what the format says.
    """
    data = _header_bytes(source)
    stated = data[_START : _START + 64].decode("ascii", "replace")
    found = header_hash(data)
    if stated != found:
        raise HashError("header", asked=f"bytes with SHA-256 {found}", allowed=stated, do=DAMAGED)
    if sha256 is not None:
        _check_pin(sha256, found)
    try:
        text = data[8:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderError("header", asked="bytes that are not UTF-8") from error
    table = strict.table(strict.parse(text, "header"), "header")
    metadata = strict.table(table.pop("__metadata__"), "metadata", ("format", "header_sha256", "concertina", "sha256"))
    if not isinstance(metadata["concertina"], str) or not isinstance(metadata["sha256"], str):
        strict.refuse_words("metadata", "values that are no text", "text")
    hashes = strict.table(strict.parse(metadata["sha256"], "hashes"), "hashes", table)
    return Header(metadata["concertina"], _blobs(table, hashes, len(data)), found, len(data))


def _check_pin(pin: str, found: str) -> None:
    if not isinstance(pin, str) or not _HEX.fullmatch(pin):
        raise InputError("sha256=", asked=strict.brief(pin), allowed="64 hexadecimal digits, lower case")
    if pin != found:
        raise HashError("header", asked=f"SHA-256 {found}", allowed=f"the pinned {pin}", do="This is another file.")


def _header_bytes(source: ByteSource) -> bytes:
    size = source.size
    start = source.read(0, min(size, _START))
    if start[8:] != MAGIC[: len(start) - 8] and len(start) > 8:
        raise MagicError("file", asked=_looks_like(start), allowed="a .concertina file")
    if len(start) < _START:
        raise TruncatedError("file", asked=f"{size} bytes", allowed="a whole header")
    length = int.from_bytes(start[:8], "little")
    if length > MAX_HEADER or length % 8 or 8 + length < _START + 64:
        raise HeaderError("header length", asked=str(length), allowed=f"a multiple of 8 up to {MAX_HEADER}")
    if 8 + length > size:
        raise TruncatedError("file", asked=f"{size} bytes", allowed=f"a header of {8 + length} bytes and what follows")
    return start + source.read(_START, 8 + length - _START)


def _looks_like(start: bytes) -> str:
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER:
        return "a safetensors file of another kind (plain weights?)"
    known = {b"PK\x03\x04": "a zip archive (torch.save?)", b"\x80": "a pickle", b"\x89HDF": "an HDF5 file"}
    return next((noun for sign, noun in known.items() if start.startswith(sign)), f"bytes {start[:8]!r}")


def _blobs(table: Mapping[str, object], hashes: Mapping[str, object], offset: int) -> tuple[Blob, ...]:
    blobs, at = [], 0
    for name, raw in table.items():
        where = f"blob {strict.name(name, 'blob name')!r}"
        entry = strict.table(raw, where, ("dtype", "shape", "data_offsets"))
        if entry["dtype"] != "U8":
            raise DtypeError(where, asked=strict.brief(entry["dtype"]), allowed="U8")
        start, end = strict.integers(strict.listing(entry["data_offsets"], f"{where} data_offsets", 2, 2), where)
        if start != at or end < start:
            kind = "an overlap" if start < at or end < start else "a hole"
            raise LayoutError(where, asked=f"{kind}: bytes {start} to {end}", allowed=f"a start at {at}")
        if strict.integers(entry["shape"], f"{where} shape") != (end - start,):
            raise ShapeError(where, asked=f"shape {strict.brief(entry['shape'])}", allowed=f"[{end - start}]")
        digest = hashes[name]
        if not isinstance(digest, str) or not _HEX.fullmatch(digest):
            strict.refuse(f"{where} hash", digest, "64 hexadecimal digits, lower case")
        blobs.append(Blob(name, offset + start, offset + end, digest))
        at = end
    return tuple(blobs)


def read_blob(source: ByteSource, blob: Blob) -> bytes:
    """Return the bytes of a blob, checked against their hash.

    Raises:
        TruncatedError: The file ends before the blob does.
        HashError: The bytes are not those that were written.
    """
    if blob.end > source.size:
        raise TruncatedError(f"blob {blob.name!r}", asked=f"a file of {source.size} bytes", allowed=f"{blob.end} bytes")
    data = source.read(blob.start, blob.size)
    found = hashlib.sha256(data).hexdigest()
    if found != blob.sha256:
        raise HashError(f"blob {blob.name!r}", asked=f"bytes with SHA-256 {found}", allowed=blob.sha256, do=DAMAGED)
    return data
