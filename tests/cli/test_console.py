"""Where words go and how values are shown."""

from __future__ import annotations

import json
import logging
import re

import pytest

from concertina.cli.console import Console, describe, table
from concertina.cli.options import Common

DATA = {
    "source": "[bold]x",
    "macs": 1234567,
    "points": [{"point": "p10", "share": 0.1}, {"point": "p100", "share": None}],
}


def test_results_are_tables_on_stdout_with_markup_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Console(Common()).result(DATA, *describe(DATA))
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "[bold]x" in captured.out
    assert "1,234,567" in captured.out
    assert re.search(r"^p10 +10\.0%$", captured.out, re.MULTILINE)
    assert re.search(r"^p100 +-$", captured.out, re.MULTILINE)


def test_results_are_json_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Console(Common(as_json=True)).result(DATA, "not this")
    assert json.loads(capsys.readouterr().out) == DATA


def test_piped_tables_are_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    Console(Common()).result([], table(("what",), [("x" * 500,)]))
    assert "x" * 500 in capsys.readouterr().out


def test_progress_is_plain_lines_off_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter((0.0, 1.0, 10.0, 11.0))
    with Console(Common()).progress() as progress:
        monkeypatch.setattr("concertina.cli.console.time.monotonic", lambda: next(now))
        for done in (0.0, 0.1, 0.5):
            progress("training", done)
        progress("measuring", 0.25)
        monkeypatch.undo()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "training: 0%\ntraining: 50%, about 10 s left\nmeasuring: 25%\n"


def test_what_is_done_at_once_is_a_remark(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Console(Common()).progress() as progress:
        progress("going on at step 3 of 6", 1.0)
        progress("training", 0.5)
    assert capsys.readouterr().err == "going on at step 3 of 6\ntraining: 50%\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Console(Common()).progress() as progress:
        progress("training", 0.5)
        progress("starting anew", 1.0)
    shown = capsys.readouterr().err
    assert "starting anew" in shown
    assert "100%" not in shown.partition("starting anew")[0].rpartition("\n")[2]


def test_the_package_log_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Console(Common())
    logging.getLogger("concertina").warning("measuring %d points", 3)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "measuring 3 points\n")


def test_quiet_says_nothing_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(Common(quiet=True))
    console.remark("wrote x")
    with console.progress() as progress:
        progress("training", 0.5)
    assert capsys.readouterr().err == ""
