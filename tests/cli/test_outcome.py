"""Every way a command can end: message, stream and exit code."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from concertina.cli import main
from concertina.cli.outcome import reported, resumable
from concertina.errors import SpecError, TrainingError


def ended_by(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def work() -> int:
        raise error

    code = reported(work)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return code, captured.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            SpecError("width of 'a'", asked="13", allowed="8, 16", do="Use 16."),
            2,
            "width of 'a': got 13; allowed: 8, 16.",
        ),
        (TrainingError("the loss is NaN at step 3"), 1, "the loss is NaN at step 3"),
        (OSError(errno.ENOSPC, "No space", "out.concertina"), 2, "out.concertina: no space left on the device"),
        (OSError(errno.EROFS, "Read-only"), 2, "the file system is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "there.npz"), 2, "there.npz: permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file", "gone.npz"), 2, "gone.npz: no such file or folder"),
        (typer.BadParameter("too small"), 2, "too small"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (typer.Abort(), 130, "interrupted"),
    ],
)
def test_each_error_has_its_code_and_one_message(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given, said = ended_by(error, capsys)
    assert given == code
    assert words in said
    assert len(said.strip().split("\n")) == 1


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("by zero"), OSError(errno.EIO, "broken"), RuntimeError("two\nlines")]
)
def test_an_unknown_error_is_internal_and_keeps_its_story(
    error: Exception, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, said = ended_by(error, capsys)
    assert (code, len(said.strip().split("\n"))) == (3, 1)
    assert said.startswith(f"internal error: {type(error).__name__}: ")
    log = re.search(r"whole story in (\S+);", said)
    assert log is not None
    assert "Traceback" in Path(log.group(1)).read_text(encoding="utf-8")


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise SpecError("width")

    assert reported(work, debug=True) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        with resumable(lambda: "to go on: concertina fit --resume"):
            raise KeyboardInterrupt

    assert reported(work) == 130
    assert capsys.readouterr().err == "interrupted\nto go on: concertina fit --resume\n"


def test_a_result_code_passes_through() -> None:
    assert (reported(lambda: 0), reported(lambda: 1)) == (0, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fot"], "Did you mean 'fit'?"),
        (["fit", "zoo:mlp"], "Missing option"),
        (["inspect"], "Missing argument 'SOURCE'"),
        (["methods", "--nothing"], "No such option"),
        (["extract", "x.concertina", "-o", "y", "--batch", "0"], "Invalid value for '--batch'"),
    ],
)
def test_bad_usage_names_what_is_wrong_and_where_help_is(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "--help'" in captured.err


def test_help_and_version_are_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"concertina \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert main(["fit", "--help"]) == 0
    assert "--recipe" in capsys.readouterr().out


def test_a_reader_that_leaves_early_is_no_error() -> None:
    program = [sys.executable, "-m", "concertina", "methods", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(program, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_json_is_json_and_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json", "--family", "W"]) == 0
    captured = capsys.readouterr()
    assert {row["family"] for row in json.loads(captured.out)} == {"W"}
    assert captured.err == ""
