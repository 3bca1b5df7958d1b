"""Files changed at random places of their JSON, re-hashed: a named error or a load, never a foreign exception."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.save.attacks.base import sound
from tests.save.forge import Parts, join, tables_blob, take_apart

from concertina.errors import FormatError
from concertina.save import BytesSource, open_artifact, to_json

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**53, -(2**53), 2**53 + 1, 0.5, -0.0, 1e308, "", "a", "p0", "F32"),
    *("available", "\0", "\ud800", "x" * 600, "$array", [], {}, [[]], [0], [0, 1], [[0, 1]], {"a": 1}, {"$bytes": 1}),
)
PLACES = ("manifest", "entries", "tables")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Give (container, key) of every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from places(item)


def mutate(value: Any, rng: np.random.Generator) -> Any:
    """Return a copy with one to three places replaced, deleted, doubled or swapped."""
    value = copy.deepcopy(value)
    for _ in range(rng.integers(1, 4)):
        found = list(places(value))
        if not found:
            break
        container, key = found[rng.integers(len(found))]
        other, other_key = found[rng.integers(len(found))]
        kind = rng.integers(5)
        if kind <= 1:
            container[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
        elif kind == 2:
            del container[key]
        elif kind == 3 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        else:
            container[key] = copy.deepcopy(other[other_key])
    return value


def mutated(place: str, rng: np.random.Generator) -> bytes:
    parts: Parts = take_apart(sound())
    if place == "manifest":
        parts.manifest = mutate(parts.manifest, rng)
    elif place == "entries":
        data = sound()
        header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
        parts.entries = mutate({name: entry for name, entry in header.items() if name != "__metadata__"}, rng)
    else:
        text = zlib.decompress(parts.blobs["tables"][8:])
        parts.blobs["tables"] = tables_blob(json.dumps(mutate(json.loads(text), rng)).encode())
    return join(parts)


@pytest.mark.parametrize("place", PLACES)
def test_random_changes_end_in_a_named_error_or_a_load(place: str) -> None:
    rng = np.random.default_rng(PLACES.index(place))
    outcomes = {"loaded": 0, "refused": 0}
    for _ in range(500):
        data = mutated(place, rng)
        try:
            artifact = open_artifact(BytesSource(data))
            content = artifact.read()
            artifact.tables()
        except FormatError as error:
            str(error).encode()
            outcomes["refused"] += 1
            continue
        outcomes["loaded"] += 1
        assert {info.name: info.shape for info in artifact.manifest.tensors} == {
            name: array.shape for name, array in content.tensors.items()
        }
        to_json(artifact.manifest).encode()
    assert outcomes["refused"] > 250
