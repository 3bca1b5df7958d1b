"""Golden files: what was written once is read for ever, and written again byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.save.builders import cut, same
from tests.save.forge import take_apart
from tests.save.golden import golden_families

from concertina.save import open_artifact

FOLDER = Path(__file__).resolve().parents[1] / "golden"
FAMILIES = golden_families()


def kept(name: str) -> Path:
    return FOLDER / f"{name}.concertina"


@pytest.mark.parametrize("name", FAMILIES)
def test_golden_file_is_written_again_byte_for_byte(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    now = FAMILIES[name].write(tmp_path / "now.concertina")
    if request.config.getoption("--rewrite"):
        kept(name).write_bytes(now)
    before, after = take_apart(kept(name).read_bytes()), take_apart(now)
    tables = before.blobs.pop("tables", None), after.blobs.pop("tables", None)
    assert after == before
    assert (tables[0] is None) == (tables[1] is None)
    # How tightly zlib packs depends on its build, so files with tables are compared by content.
    assert tables[0] is not None or now == kept(name).read_bytes()
    assert len(now) < 20_000


@pytest.mark.parametrize("name", FAMILIES)
def test_golden_file_is_read_as_it_was_meant(name: str) -> None:
    family = FAMILIES[name]
    artifact = open_artifact(kept(name))
    content = artifact.read()
    assert all(same(content.tensors[key], array) for key, array in family.tensors.items())
    assert {p: set(held) for p, held in content.private.items()} == {p: set(h) for p, h in family.private.items()}
    assert all(same(content.private[p][key], a) for p, held in family.private.items() for key, a in held.items())
    assert (artifact.manifest.dims, artifact.manifest.steps) == (family.manifest.dims, family.manifest.steps)
    assert artifact.manifest.points == family.manifest.points
    assert artifact.manifest.augment == family.manifest.augment == ("flip-crop" if name == "augment" else "")
    assert_same_tables(artifact.tables(), family.tables)


def assert_same_tables(found: Any, wanted: Any) -> None:
    assert set(found) == set(wanted)
    if wanted:
        assert found["records"] == wanted["records"]
        assert same(found["permutation"]["stem"], wanted["permutation"]["stem"])
        assert (found["predictions"], found["notes"]) == (wanted["predictions"], wanted["notes"])


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_golden_rank_step_is_a_prefix_of_both_factors(rank: int) -> None:
    tensors = FAMILIES["rank"].tensors
    content = open_artifact(kept("rank")).read(f"rank{rank}", reserve=False)
    assert same(content.tensors["fc.U"], np.ascontiguousarray(cut(tensors["fc.U"], (6, rank))))
    assert same(content.tensors["fc.V"], np.ascontiguousarray(cut(tensors["fc.V"], (rank, 10))))
    assert same(content.tensors["fc.bias"], tensors["fc.bias"])


def values(planes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the integers, of 8 bits, whose highest bits are the planes; planes that are not there count as 0."""
    bits = np.unpackbits(planes, axis=1)
    return (bits * (1 << np.arange(7, 7 - len(planes), -1))[:, None]).sum(0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_golden_bit_plane_step_adds_precision(bits: int) -> None:
    full = values(FAMILIES["bit-planes"].tensors["fc.planes"])
    artifact = open_artifact(kept("bit-planes"))
    part = values(artifact.read(f"bits{bits}", reserve=False).tensors["fc.planes"])
    assert np.array_equal(part, full >> (8 - bits) << (8 - bits))
    assert np.array_equal(values(artifact.grow().tensors["fc.planes"]), full)
