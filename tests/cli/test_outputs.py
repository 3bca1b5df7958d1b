"""Outputs: what is there is never lost by mistake, and a full disk costs nothing but the space."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from tests.cli.conftest import Files

from concertina.cli import main
from concertina.export import folder as folders

Capsys = pytest.CaptureFixture[str]
FIT = ["fit", "zoo:mlp", "--data", "zoo:digits@validation", "--points", "1", "--epochs", "0"]
WRITERS = {
    "fit": (FIT[1:], "out.concertina"),
    "extract": (["{file}", "--share", "1"], "out"),
    "export": (["{file}", "--to", "onnx", "--share", "1"], "out.onnx"),
    "report": (["{file}"], "out.html"),
}


def ends(capsys: Capsys, *words: object) -> tuple[int, str]:
    capsys.readouterr()
    code = main([*map(str, words)])
    return code, capsys.readouterr().err


def refused(capsys: Capsys, *words: object) -> str:
    code, text = ends(capsys, *words, "--quiet")
    assert (code, text.count("error: ")) == (2, 1)
    return text


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest, files: Files) -> tuple[list[str], str]:
    """Return a verb that writes, with its words but for the output, and a name for the output."""
    words, name = WRITERS[request.param]
    return [request.param, *(word.format(file=files.zoo) for word in words)], name


def test_an_output_that_cannot_be_is_refused_at_once(
    writer: tuple[list[str], str], tmp_path: Path, capsys: Capsys
) -> None:
    words, name = writer
    assert "is not there" in refused(capsys, *words, "-o", tmp_path / "none" / name)
    (tmp_path / "file").write_text("mine")
    assert "is not there" in refused(capsys, *words, "-o", tmp_path / "file" / name)
    kind = (tmp_path / name).mkdir if name != "out" else (tmp_path / name).touch
    kind()
    assert f"{name}' is a f" in refused(capsys, *words, "--yes", "-o", tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def test_what_is_there_is_replaced_only_when_told_to(
    writer: tuple[list[str], str], tmp_path: Path, capsys: Capsys
) -> None:
    words, name = writer
    place = tmp_path / name / "slim.json" if name == "out" else tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.write_text("mine")
    assert "is there already. Give --yes" in refused(capsys, *words, "-o", tmp_path / name)
    assert place.read_text() == "mine"
    assert main([*words, "-o", str(tmp_path / name), "--yes", "--quiet"]) == 0
    assert place.read_text(errors="replace") != "mine"


def test_an_input_is_never_the_output(files: Files, tmp_path: Path, capsys: Capsys) -> None:
    family = shutil.copy(files.zoo, tmp_path / "a.concertina")
    (tmp_path / "link.html").symlink_to(family)
    (tmp_path / "d.csv").write_text("label,a\n0,1\n1,2\n")
    before = family.read_bytes()
    message = "is read by this command and cannot be its output"
    for output in (family, tmp_path / "link.html"):
        assert message in refused(capsys, "report", family, "-o", output, "--yes")
    assert "is a file" in refused(capsys, "extract", family, "--share", "1", "-o", family, "--yes")
    for option in ("--data", "--validation"):
        words = [*FIT, option, f"{tmp_path}/d.csv", "-o", tmp_path / "d.csv", "--yes"]
        assert message in refused(capsys, *words)
    shutil.copy(files.zoo, tmp_path / "w.safetensors")
    words = [*FIT, "--weights", tmp_path / "w.safetensors", "-o", tmp_path / "w.safetensors", "--yes"]
    assert message in refused(capsys, *words)
    shutil.copy(tmp_path / "d.csv", tmp_path / "x.fit")
    words = [*FIT, "--data", tmp_path / "x.fit", "-o", tmp_path / "x", "--yes"]
    assert message in refused(capsys, *words)
    assert family.read_bytes() == before


def test_resume_without_a_checkpoint_says_so_and_replaces_nothing(tmp_path: Path, capsys: Capsys) -> None:
    out = tmp_path / "x.concertina"
    code, text = ends(capsys, *FIT[:-1], "0.1", "--resume", "-o", out)
    assert (code, "x.concertina.fit: starting anew" in text) == (0, True)
    before = out.read_bytes()
    assert "is there already. Give --yes to replace it" in refused(capsys, *FIT, "--resume", "-o", out)
    assert out.read_bytes() == before
    assert ends(capsys, *FIT, "--resume", "--yes", "-o", out)[0] == 0


def test_a_full_disk_after_training_keeps_the_run(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*FIT[:-1], "0.1", "-o", str(tmp_path / "x.concertina")]

    class FullDisk:
        def __getattr__(self, name: str) -> object:
            if name == "fsync":
                raise OSError(errno.ENOSPC, "No space left on device")
            return getattr(os, name)

    with monkeypatch.context() as patch:
        patch.setattr("concertina.save.atomic.os", FullDisk())
        patch.setattr("sys.argv", ["concertina", *words])
        code, text = ends(capsys, *words)
    assert code == 2
    assert "No space left on device" in text
    assert f"'{tmp_path}/x.concertina.fit' keeps what was done; to go on: concertina fit zoo:mlp" in text
    assert text.rstrip().endswith("--resume")
    assert [path.name for path in tmp_path.iterdir()] == ["x.concertina.fit"]
    assert ends(capsys, *words, "--resume")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.concertina"]


def test_a_disk_without_room_is_refused_before_the_work(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9, 1000))
    assert "got 1,000 bytes free; allowed: 269,904 or more" in refused(capsys, *FIT, "-o", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt2", "slim.json"])
def test_extract_to_a_full_disk_is_one_clear_message(
    name: str, files: Files, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Path.write_bytes, Path.write_text

    def full(self: Path, *given: object, **more: object) -> object:
        if self.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return kept[isinstance(given[0], str)](self, *given, **more)

    monkeypatch.setattr(folders.Path, "write_bytes", full)
    monkeypatch.setattr(folders.Path, "write_text", full)
    text = refused(capsys, "extract", files.zoo, "--share", "1", "-o", tmp_path / "out")
    assert "got No space left on device" in text
    assert list(tmp_path.iterdir()) == []


def test_extracted_files_have_the_usual_mode(files: Files, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    before = os.umask(0o027)
    try:
        assert main(["extract", str(files.zoo), "--share", "1", "-o", str(tmp_path / "out"), "--quiet"]) == 0
        assert (
            main(["export", str(files.zoo), "--to", "onnx", "--share", "1", "-o", str(tmp_path / "x" / "a.onnx"), "-q"])
            == 0
        )
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.glob("*/*")}
    assert set(modes.values()) == {"0o640"}, modes
