"""Every truncation point of a small file, and ten thousand flipped bytes of one of real size."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.save.builders import Family, kept, residual_family, small_family
from tests.save.sources import CutSource

from concertina.errors import FormatError, HashError, TruncatedError
from concertina.save import Artifact, BytesSource, open_artifact

FLIPS = {"made up": (1_000, 2_000), "real": (4_000, 6_000)}
"""Kind of file -> how many bytes to flip in its header, and how many behind it."""


@cache
def twenty_kilobytes() -> tuple[Family, bytes]:
    family = small_family()
    for name in ("block.conv1.weight", "block.conv2.weight"):
        family.private["p4"][f"more {name}"] = family.tensors[name].copy()
    return family, family.data


def points_before(artifact: Artifact, end: int) -> list[str]:
    """Return the points that a file of `end` bytes holds whole, by the stages' own account."""
    family, _ = twenty_kilobytes()
    found = []
    for stage in artifact.stages:
        at = stage.end
        for point in stage.points:
            at += sum(array.nbytes for array in family.private.get(point.name, {}).values())
            if at <= end:
                found.append(point.name)
    return found


def test_every_truncation_point_in_the_header() -> None:
    _, data = twenty_kilobytes()
    for length in range(open_artifact(BytesSource(data)).header_bytes):
        with pytest.raises(TruncatedError, match=f"{length} bytes|whole header"):
            open_artifact(BytesSource(data[:length]))


def test_every_truncation_point_after_the_header() -> None:
    """The largest point that is whole is named and can be read, with the right tensors; nothing larger can."""
    family, data = twenty_kilobytes()
    assert len(data) > 18_000
    source = CutSource(data, len(data))
    artifact = open_artifact(source)
    shares = {point.name: point.share for point in family.manifest.points}
    seen = set()
    for length in range(artifact.header_bytes, len(data)):
        source.limit = length
        names = points_before(artifact, length)
        assert [point.name for point in artifact.available] == names
        words = f"upto='{max(names, key=shares.__getitem__)}'" if names else "no point is wholly there"
        with pytest.raises(TruncatedError, match=words):
            artifact.read()
        with pytest.raises(TruncatedError, match="the tables"):
            artifact.tables()
        if tuple(names) not in seen:
            seen.add(tuple(names))
            assert_available(artifact, family, names)
    assert len(seen) == 6


def assert_available(artifact: Artifact, family: Family, names: list[str]) -> None:
    if not names:
        with pytest.raises(TruncatedError, match="smallest point"):
            artifact.read("available")
        return
    content = artifact.read("available")
    assert [point.name for point in content.points] == names
    extents = family.manifest.layout.extents(content.spec)
    for info, extent in zip(family.manifest.tensors, extents, strict=True):
        if extent is not None:
            found, wanted = kept(content.tensors[info.name], extent), kept(family.tensors[info.name], extent)
            assert found.tobytes() == wanted.tobytes()
    for point in family.manifest.points:
        if point.name not in names:
            with pytest.raises(TruncatedError, match=f"upto='{point.name}'"):
                artifact.read(point.name)


def test_truncated_files_open_from_the_start() -> None:
    _, data = twenty_kilobytes()
    header = open_artifact(BytesSource(data)).header_bytes
    for length in range(header, len(data), 97):
        artifact = open_artifact(BytesSource(data[:length]))
        assert not artifact.complete
        assert artifact.bytes_read == header


@cache
def made_up() -> bytes:
    """Return a file with the tensors of ResNet-20 and its size."""
    return residual_family(3).data


@pytest.fixture(params=["made up", pytest.param("real", marks=pytest.mark.real)])
def kind(request: pytest.FixtureRequest) -> str:
    """What weights the file has."""
    return str(request.param)


@pytest.fixture
def large(kind: str, request: pytest.FixtureRequest) -> bytearray:
    """A file of real size, that may be changed."""
    if kind == "made up":
        return bytearray(made_up())
    weights = request.getfixturevalue("real_data") / "resnet20-cifar10.safetensors"
    return bytearray(residual_family(3, tensors=load_file(weights)).data)


def flips(rng: np.random.Generator, low: int, high: int, count: int) -> list[tuple[int, int]]:
    """Return (position, bits to turn over) pairs, spread evenly from `low` to `high`."""
    places = np.linspace(low, high, count, endpoint=False) + rng.random(count) * (high - low) / count
    return list(zip(places.astype(int).tolist(), rng.integers(1, 256, count).tolist(), strict=True))


def test_flipped_bytes_in_the_header(kind: str, large: bytearray) -> None:
    before = bytes(large)
    assert len(large) > 1_000_000
    end = open_artifact(BytesSource(large)).header_bytes
    rng = np.random.default_rng(0)
    for at, bits in flips(rng, 0, end, FLIPS[kind][0] - 64) + flips(rng, 0, 64, 64):
        large[at] ^= bits
        with pytest.raises(FormatError, match=r"header|file"):
            open_artifact(BytesSource(large))
        large[at] ^= bits
    assert bytes(large) == before


def test_flipped_bytes_in_the_data(kind: str, large: bytearray) -> None:
    """The header is as it was, so one open file serves: every read takes all bytes from the source again."""
    before, artifact = bytes(large), open_artifact(BytesSource(large))
    records = artifact.tables()["records"]
    tables_start = max(stage.end for stage in artifact.stages)
    for i, (at, bits) in enumerate(flips(np.random.default_rng(1), artifact.header_bytes, len(large), FLIPS[kind][1])):
        large[at] ^= bits
        with pytest.raises(HashError, match="blob"):
            (artifact.tables if at >= tables_start else artifact.read)()
        if i % 100 == 0:
            with pytest.raises(HashError, match="blob"):
                read_all(open_artifact(BytesSource(large)))
        large[at] ^= bits
    assert artifact.tables()["records"] == records
    assert bytes(large) == before


def read_all(artifact: Artifact) -> None:
    artifact.read()
    artifact.tables()


def test_damage_behind_what_is_read_does_not_matter() -> None:
    data = bytearray(made_up())
    artifact = open_artifact(BytesSource(data))
    clean = artifact.read("p0")
    read = artifact.bytes_read
    for at, bits in flips(np.random.default_rng(2), read, len(data), 50):
        data[at] ^= bits
        content = artifact.read("p0")
        assert all(np.array_equal(content.tensors[name], array) for name, array in clean.tensors.items())
        data[at] ^= bits
