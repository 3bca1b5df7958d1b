"""Write, open, read a prefix, read on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, load_file
from tests.save.builders import Family, cut, kept, random_family, residual_family, same, small_family
from tests.save.forge import take_apart
from tests.save.sources import CutSource, WatchedSource

from concertina.errors import BudgetError, HashError, PointError, StorageError, TruncatedError
from concertina.save import Artifact, BytesSource, Content, open_artifact
from concertina.types import Point

SEEDS = st.integers(0, 2**32 - 1)


def opened(family: Family) -> Artifact:
    return open_artifact(BytesSource(family.data))


def assert_serves(content: Content, family: Family, point: Point) -> None:
    """Check that all tensors of a point are there, bit for bit, its private ones included."""
    layout = family.manifest.layout
    for info, extent in zip(layout.tensors, layout.extents(point.spec), strict=True):
        if extent is not None:
            found, wanted = kept(content.tensors[info.name], extent), kept(family.tensors[info.name], extent)
            assert found.tobytes() == wanted.tobytes()
    private = family.private.get(point.name, {})
    assert set(content.private.get(point.name, {})) == set(private)
    assert all(same(content.private[point.name][name], array) for name, array in private.items())


@settings(max_examples=80)
@given(SEEDS)
def test_whole_file_comes_back(seed: int) -> None:
    family = random_family(seed)
    artifact = opened(family)
    content = artifact.read()
    assert all(same(content.tensors[name], array) for name, array in family.tensors.items())
    assert set(content.points) == set(family.manifest.points)
    for point in content.points:
        assert_serves(content, family, point)
    manifest = family.manifest
    assert (artifact.manifest.tensors, artifact.manifest.dims) == (manifest.tensors, manifest.dims)
    assert (artifact.manifest.steps, artifact.manifest.points) == (manifest.steps, manifest.points)
    assert artifact.tables() == family.tables
    assert content.spec == manifest.space.full


@settings(max_examples=60)
@given(SEEDS, st.booleans())
def test_every_point_can_be_reached_alone_and_by_growing(seed: int, reserve: bool) -> None:
    family = random_family(seed)
    data = family.data
    grown = open_artifact(BytesSource(data))
    for point in open_artifact(BytesSource(data)).available:
        content = open_artifact(BytesSource(data)).read(point.name, reserve)
        assert point in content.points
        for each in content.points:
            assert_serves(content, family, each)
        after = grown.grow(point.name) if grown.bytes_read > grown.header_bytes else grown.read(point.name, reserve)
        assert {name: array.shape for name, array in after.tensors.items()} == {
            name: array.shape for name, array in content.tensors.items()
        }
        assert_serves(after, family, point)
    if not reserve and family.manifest.points:
        rooms = dict(zip(family.tensors, family.manifest.layout.room(content.spec), strict=True))
        assert {n: a.shape for n, a in content.tensors.items()} == {n: e for n, e in rooms.items() if e is not None}
        in_runs = {member.tensor for dim in family.manifest.dims for member in dim.members if member.of}
        shapes = zip(rooms.items(), family.manifest.layout.shapes(content.spec), strict=True)
        assert all(room == shape for (name, room), shape in shapes if name not in in_runs)


@given(SEEDS)
def test_stock_reader_gives_the_same_bytes(seed: int) -> None:
    data = random_family(seed).data
    stock = {name: array.tobytes() for name, array in load(data).items()}
    assert stock == take_apart(data).blobs


def test_stock_reader_opens_the_file(tmp_path: Path) -> None:
    family = residual_family(3)
    data = family.write(tmp_path / "r20.concertina")
    stock = load_file(tmp_path / "r20.concertina")
    assert {name: array.tobytes() for name, array in stock.items()} == take_apart(data).blobs
    stages = sum(array.nbytes for name, array in stock.items() if name.startswith("stage."))
    assert stages == sum(array.nbytes for array in family.tensors.values())


def test_arrays_handed_out_stay_valid_while_the_file_grows() -> None:
    family = small_family()
    artifact = opened(family)
    content = artifact.read("p0")
    views = {name: cut(array, array.shape)[..., :1] for name, array in content.tensors.items() if array.ndim}
    before = {name: view.tobytes() for name, view in views.items() if not name.startswith("block")}
    assert content.tensors["block.conv1.weight"].tobytes() == bytes(12 * 8 * 9 * 4)
    whole = artifact.grow()
    assert all(whole.tensors[name] is array for name, array in content.tensors.items())
    assert all(np.shares_memory(whole.tensors[name], view) for name, view in views.items())
    assert before["stem.weight"][: 2 * 36] == views["stem.weight"].tobytes()[: 2 * 36]
    assert all(same(whole.tensors[name], array) for name, array in family.tensors.items())


def test_without_reserve_arrays_are_new_and_just_large_enough() -> None:
    family = small_family()
    artifact = opened(family)
    content = artifact.read("p0", reserve=False)
    assert content.tensors["stem.weight"].shape == (2, 3, 3, 3)
    assert "block.conv1.weight" not in content.tensors
    kept = content.tensors["stem.weight"].copy()
    whole = artifact.grow("p4")
    assert whole.tensors["block.conv1.weight"].shape == (9, 4, 3, 3)
    assert not np.shares_memory(whole.tensors["stem.weight"], content.tensors["stem.weight"])
    assert same(content.tensors["stem.weight"], kept)


def test_growing_to_what_is_there_reads_nothing() -> None:
    artifact = opened(small_family())
    content = artifact.read("p4")
    count = artifact.bytes_read
    assert artifact.grow("p0") is content
    assert artifact.grow(0.01 + 5 / 7) is content
    assert artifact.bytes_read == count


def test_bytes_read_are_the_header_and_the_stages_asked_for() -> None:
    family = small_family()
    source = WatchedSource(family.data)
    artifact = open_artifact(source)
    assert source.touched == set(range(artifact.header_bytes))
    ends = {stage.points[0].name: stage.end for stage in artifact.stages}
    private = {name: sum(array.nbytes for array in held.values()) for name, held in family.private.items()}
    artifact.read("p0")
    assert source.touched == set(range(ends["p0"] + private["p0"]))
    artifact.grow("p2")
    assert source.touched == set(range(ends["p2"] + private["p2"]))
    artifact.grow()
    assert source.touched == set(range(artifact.stages[-1].end + private["no block"]))
    assert artifact.bytes_read == len(source.touched) == sum(end - start for start, end in source.ranges)
    artifact.tables()
    assert source.touched == set(range(artifact.file_bytes))


def test_extras_follow_the_first_stage_that_covers_them() -> None:
    artifact = opened(small_family())
    assert [stage.name for stage in artifact.stages] == ["stage.0", "stage.1", "stage.2", "stage.3"]
    assert [[point.name for point in stage.points] for stage in artifact.stages] == [
        ["p0"],
        ["p2"],
        ["p4"],
        ["p6", "no block"],
    ]
    assert [stage.position for stage in artifact.stages] == [0, 2, 4, 6]
    content = artifact.read("no block", reserve=False)
    assert_serves(content, small_family(), content.points[-1])


def test_share_means_the_largest_point_that_fits() -> None:
    artifact = opened(small_family())
    assert [point.name for point in artifact.read(3 / 7).points] == ["p0", "p2"]
    assert [point.name for point in artifact.read(0.7).points] == ["p0", "p2"]
    assert [point.name for point in artifact.read(1).points] == ["p0", "p2", "p4", "p6", "no block"]
    with pytest.raises(BudgetError, match=r"0\.1429 \('p0'\) or more"):
        artifact.read(0.05)


@pytest.mark.parametrize(
    ("upto", "words"),
    [
        ("no blok", "Did you mean 'no block'"),
        ("", "p0, p2"),
        (float("nan"), "share"),
        (True, "share"),
        (b"p0", "share"),
    ],
)
def test_what_is_no_point_is_refused_by_name(upto: object, words: str) -> None:
    with pytest.raises(PointError, match=words):
        opened(small_family()).read(upto)  # type: ignore[arg-type]


def test_a_file_without_points_has_one_stage() -> None:
    seed = next(seed for seed in range(100) if not random_family(seed).manifest.points)
    artifact = opened(random_family(seed))
    assert [stage.name for stage in artifact.stages] == ["stage.0"]
    assert artifact.read("available").points == ()
    with pytest.raises(BudgetError, match="no points"):
        artifact.read(0.5)


def test_file_that_is_still_arriving_grows_as_it_comes() -> None:
    family = small_family()
    data = family.data
    whole = open_artifact(BytesSource(data))
    source = CutSource(data, whole.stages[1].start)
    artifact = open_artifact(source)
    content = artifact.read("available")
    assert [point.name for point in content.points] == ["p0"]
    assert not artifact.complete
    source.limit = whole.stages[3].start + 5
    assert [point.name for point in artifact.grow("available").points] == ["p0", "p2", "p4"]
    with pytest.raises(TruncatedError, match="upto='p4', the largest point that is wholly there"):
        artifact.grow()
    source.limit = len(data)
    assert artifact.grow().points == whole.read().points
    assert all(same(content.tensors[name], array) for name, array in family.tensors.items())


def test_damage_found_while_growing_leaves_what_is_there() -> None:
    data = bytearray(small_family().data)
    artifact = open_artifact(BytesSource(data))
    content = artifact.read("p2")
    at = artifact.stages[2].start + 3
    data[at] ^= 1
    with pytest.raises(HashError, match=r"stage\.2"):
        artifact.grow("p4")
    assert artifact.grow("p2") is content
    data[at] ^= 1
    assert_serves(artifact.grow(), small_family(), small_family().manifest.points[-1])


def test_memory_that_is_not_there_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = opened(small_family())

    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "zeros", refuse)
    with pytest.raises(StorageError, match="reserve=False"):
        artifact.read()


def test_a_replaced_file_does_not_change_what_is_open(tmp_path: Path) -> None:
    path = tmp_path / "x.concertina"
    family = small_family()
    family.write(path)
    with open_artifact(path) as artifact:
        residual_family(1).write(path)
        assert all(same(artifact.read().tensors[name], array) for name, array in family.tensors.items())
    with pytest.raises(StorageError, match="open file"):
        artifact.read()


@pytest.mark.real
def test_real_network_has_a_small_header(real_data: Path, tmp_path: Path) -> None:
    tensors = load_file(real_data / "resnet56-cifar10.safetensors")
    family = residual_family(9, tensors=tensors)
    path = tmp_path / "r56.concertina"
    data = family.write(path)
    artifact = open_artifact(path)
    assert artifact.header_bytes <= 22_000
    assert len(data) <= 1.02 * sum(array.nbytes for array in tensors.values()) + sum(
        array.nbytes for held in family.private.values() for array in held.values()
    )
    content = artifact.read()
    assert all(same(content.tensors[name], array) for name, array in tensors.items())
    assert artifact.tables()["records"] == family.tables["records"]
