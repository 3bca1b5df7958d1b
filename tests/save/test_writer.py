"""Writing: whole or not at all, the same bytes every time, and only what fits."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.save.builders import NO_FILES, Family, residual_family, small_family

from concertina.errors import ConcertinaError, DtypeError, HeaderError, ShapeError, StorageError
from concertina.save import TensorInfo, open_artifact, write_artifact


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_report_adds_up(tmp_path: Path) -> None:
    path, family = tmp_path / "x.concertina", small_family()
    report = write_artifact(path, family.manifest, family.tensors, family.private, family.tables)
    artifact = open_artifact(path, sha256=report.sha256)
    parts = (report.header_bytes, *report.stage_bytes, *report.private_bytes.values(), report.tables_bytes)
    assert sum(parts) == report.file_bytes == path.stat().st_size == artifact.file_bytes
    assert report.stage_bytes == tuple(stage.end - stage.start for stage in artifact.stages)
    assert sum(report.stage_bytes) == sum(array.nbytes for array in family.tensors.values())
    assert {name: sum(a.nbytes for a in held.values()) for name, held in family.private.items()} == report.private_bytes


def test_the_same_family_gives_the_same_bytes(tmp_path: Path) -> None:
    family = small_family()
    shuffled = replace(
        family,
        tensors=dict(reversed(family.tensors.items())),
        private={name: dict(reversed(held.items())) for name, held in reversed(family.private.items())},
    )
    assert family.write(tmp_path / "a") == family.write(tmp_path / "b") == shuffled.write(tmp_path / "c")


def test_arrays_may_be_views_of_any_order(tmp_path: Path) -> None:
    family = small_family()
    strided = {name: array.T.copy().T for name, array in family.tensors.items()}
    assert not strided["stem.weight"].flags.c_contiguous
    assert replace(family, tensors=strided).write(tmp_path / "a") == family.data


def test_a_new_file_has_the_usual_rights_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.concertina"
    path.write_text("old")
    old = os.umask(0o027)
    try:
        small_family().write(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640
    assert files(tmp_path) == ["x.concertina"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "x.concertina"
    link.symlink_to(tmp_path / "real" / "y.concertina")
    for _ in range(2):
        small_family().write(link)
        assert link.is_symlink()
        assert open_artifact(tmp_path / "real" / "y.concertina").complete
    assert files(tmp_path / "real") == ["y.concertina"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("directory", "a directory"), ("fifo", "a pipe, device"), ("device", "a pipe, device"), ("loop", "endless link")],
)
def test_what_is_no_file_is_not_replaced(kind: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.concertina"
    NO_FILES[kind](path)
    with pytest.raises(StorageError, match=words):
        small_family().write(path)
    assert files(tmp_path) == ["x.concertina"]


@pytest.mark.parametrize("name", ["missing/x.concertina", "file/x.concertina", "a\0b", "x" * 300])
def test_places_that_cannot_be(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="writing"):
        write_artifact(tmp_path / name, small_family().manifest, small_family().tensors, small_family().private)
    assert files(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("call", "number"),
    [("fsync", errno.ENOSPC), ("replace", errno.EACCES), ("open", errno.EROFS), ("fdopen", errno.EIO)],
)
def test_a_refusing_disk_changes_nothing(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, family = tmp_path / "x.concertina", small_family()
    path.write_text("old")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(StorageError, match=os.strerror(number)):
            write_artifact(path, family.manifest, family.tensors, family.private)
    assert path.read_text() == "old"
    assert files(tmp_path) == ["x.concertina"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_write_changes_nothing(error: type[BaseException], tmp_path: Path) -> None:
    path, family = tmp_path / "x.concertina", small_family()
    path.write_text("old")

    class Interrupting(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            if list(tmp_path.glob(".*.part")):
                raise error("in the middle")
            return super().__getitem__(name)

    with pytest.raises(error, match="in the middle"):
        write_artifact(path, family.manifest, Interrupting(family.tensors), family.private)
    assert path.read_text() == "old"
    assert files(tmp_path) == ["x.concertina"]


CHILD = """
import os, resource, signal, sys
from tests.save.builders import residual_family
from concertina.errors import StorageError
how, path = sys.argv[1:]
family = residual_family(1)
if how == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
if how == "kill":
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
try:
    family.data if how == "none" else family.write(__import__("pathlib").Path(path))
except StorageError as error:
    print(error)
"""


def run_child(how: str, path: Path, root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD, how, str(path)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)


def test_a_process_killed_while_writing_leaves_the_old_file(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.concertina"
    path.write_text("old")
    assert run_child("kill", path, root).returncode == -9
    assert path.read_text() == "old"


def test_a_file_size_limit_leaves_the_old_file(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.concertina"
    path.write_text("old")
    done = run_child("limit", path, root)
    assert "File too large" in done.stdout, done.stderr
    assert (path.read_text(), files(tmp_path)) == ("old", ["x.concertina"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where the system lets us have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "x.concertina"
    path.write_text("old")
    with pytest.raises(StorageError, match="No space left on device"):
        residual_family(1).write(path)
    assert (path.read_text(), files(small_disk)) == ("old", ["x.concertina"])
    small_family().write(path)
    assert open_artifact(path).complete


def changed(tensors: dict[str, Any], **changes: Any) -> dict[str, Any]:
    found = tensors | {name.replace("_", "."): array for name, array in changes.items()}
    return {name: array for name, array in found.items() if array is not None}


WRONG: list[tuple[str, Callable[[Family], Family], type[ConcertinaError], str]] = [
    (
        "missing",
        lambda f: replace(f, tensors=changed(f.tensors, head_bias=None)),
        HeaderError,
        r"missing \['head.bias'\]",
    ),
    ("unknown", lambda f: replace(f, tensors=f.tensors | {"x": np.zeros(1)}), HeaderError, r"unknown \['x'\]"),
    ("shape", lambda f: replace(f, tensors=changed(f.tensors, head_bias=np.zeros(9, "f4"))), ShapeError, r"\(9,\)"),
    ("dtype", lambda f: replace(f, tensors=changed(f.tensors, head_bias=np.zeros(10))), DtypeError, "float64"),
    ("order", lambda f: replace(f, tensors=changed(f.tensors, head_bias=np.zeros(10, ">f4"))), DtypeError, ">f4"),
    ("list", lambda f: replace(f, tensors=changed(f.tensors, head_bias=[0.0] * 10)), ShapeError, "list"),
    ("point", lambda f: replace(f, private={"p9": {}}), HeaderError, "p9"),
    ("small", lambda f: replace(f, private={"p0": {"stem.bn.weight": np.zeros(3, "f4")}}), ShapeError, r"\(2,\)"),
    ("absent", lambda f: replace(f, private={"p0": {"block.bn.weight": np.zeros(3, "f4")}}), ShapeError, "not in this"),
    ("object", lambda f: replace(f, private={"p0": {"x": np.array([None])}}), DtypeError, "object"),
    ("private", lambda f: replace(f, private={"p0": {"x": 1.0}}), ShapeError, "a numpy array"),
    ("tables", lambda f: replace(f, tables={"x": object()}), HeaderError, "object object"),
    ("nan", lambda f: replace(f, tables={"x": float("nan")}), HeaderError, "finite"),
]


@pytest.mark.parametrize(("name", "change", "error", "words"), WRONG, ids=[each[0] for each in WRONG])
def test_what_does_not_fit_is_refused_before_anything_is_written(
    name: str, change: Callable[[Family], Family], error: type[ConcertinaError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        change(small_family()).write(tmp_path / "x.concertina")
    assert files(tmp_path) == []


def test_private_dtypes_may_be_stated(tmp_path: Path) -> None:
    family = small_family()
    stated = {"p0": (TensorInfo("gain", "BF16", (2,)),)}
    manifest = replace(family.manifest, private=stated)
    path = tmp_path / "x.concertina"
    write_artifact(path, manifest, family.tensors, {"p0": {"gain": np.array([1, 2], np.uint16)}})
    artifact = open_artifact(path)
    assert artifact.manifest.private == stated
    assert artifact.read("p0").private["p0"]["gain"].tolist() == [1, 2]
