"""Take a file apart and put it together again, self-consistent and re-hashed, with whatever lies inside.

Nothing of the package is used here, so that a hostile file does not depend on the code that has to refuse it.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

PREFIX = b'{"__metadata__":{"format":"concertina","header_sha256":"'
START = 8 + len(PREFIX)


@dataclass
class Parts:
    """A file in pieces that may be changed before `join`."""

    manifest: Any
    """The manifest as parsed; a string stands for itself."""
    blobs: dict[str, bytes]
    """Bytes of every blob, in file order."""
    entries: dict[str, Any]
    """Header entries that differ from what the blobs say."""
    hashes: dict[str, Any]
    """Hashes that differ from those of the blobs."""
    metadata: dict[str, Any]
    """Further keys of the metadata."""

    def dim(self, i: int) -> list[Any]:
        return self.manifest["dims"][i]

    def point(self, i: int) -> list[Any]:
        return self.manifest["points"][i]


def take_apart(data: bytes) -> Parts:
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    body = data[8 + length :]
    blobs = {name: body[slice(*entry["data_offsets"])] for name, entry in header.items()}
    return Parts(json.loads(metadata["concertina"]), blobs, {}, {}, {})


def join(parts: Parts) -> bytes:
    manifest = parts.manifest if isinstance(parts.manifest, str) else json.dumps(parts.manifest)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in parts.blobs.items()} | parts.hashes
    metadata = {"format": "concertina", "header_sha256": " " * 64, "concertina": manifest, "sha256": json.dumps(hashes)}
    table: dict[str, Any] = {"__metadata__": metadata | parts.metadata}
    at = 0
    for name, data in parts.blobs.items():
        table[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    table |= parts.entries
    text = json.dumps({name: entry for name, entry in table.items() if entry is not None}, separators=(",", ":"))
    return seal(text.encode(), b"".join(parts.blobs.values()))


def seal(text: bytes, body: bytes) -> bytes:
    """Return a file with this header text (its own hash put in) and this body."""
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    blank = header[:START] + b" " * 64 + header[START + 64 :]
    return header[:START] + hashlib.sha256(blank).hexdigest().encode() + header[START + 64 :] + body


def tables_blob(text: bytes, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if size is None else size) + zlib.compress(text, 9)
