"""`concertina search` as users run it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from concertina.cli import main

WORDS = ["--data", "zoo:digits@validation", "--samples", "100", "--calibration-samples", "100", "--quiet"]


def words(file: Path, output: Path, *more: str) -> list[str]:
    return ["search", str(file), *WORDS, *more, "-o", str(output)]


def test_a_search_writes_a_family_with_its_new_points(
    digits_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.concertina"
    assert main([*words(digits_file, output, "--trials", "16"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["trials"] == 16
    assert all(row["point"].startswith("s") and 0 <= row["accuracy"] <= 1 for row in facts["points"])
    assert main(["inspect", str(output), "--json"]) == 0
    stored = [point["point"] for point in json.loads(capsys.readouterr().out)["points"]]
    assert {row["point"] for row in facts["points"]} < set(stored)
    assert [path.name for path in tmp_path.iterdir()] == ["found.concertina"]


def test_bounds_out_of_reach_leave_the_journal_and_no_file(
    digits_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.concertina"
    asked = words(digits_file, output, "--trials", "2", "--min-accuracy", "1", "--macs", "5000")
    assert main(asked) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: none of 2 subnets measured is within all bounds")
    assert "--resume and more --trials" in message
    assert [path.name for path in tmp_path.iterdir()] == ["found.concertina.search"]
    assert main(asked) == 2
    assert "holds an unfinished search" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--calibrate", "missing.npz"], "'missing.npz' is not there"),
        (["--strategy", "guide"], "unknown search strategy: got 'guide'"),
        (["--latency-ms", "-1"], "error: --latency-ms: got -1.0"),
        (["--macs", "-3"], "error: --macs: got -3.0"),
        (["--min-accuracy", "1.5"], "error: --min-accuracy: got 1.5; allowed: 0 to 1"),
        (["--macs", "100"], "error: no subnet fits --macs 100: allowed: "),
        (["--executor", "dask"], "unknown executor: got 'dask'; allowed: processes, ray, serial"),
        (["--latency-ms", "3", "--threads", "100000"], "--threads"),
    ],
)
def test_plain_mistakes_are_refused_before_anything_slow(
    digits_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(words(digits_file, tmp_path / "found.concertina", *more)) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_cut_off_is_refused_without_advice_that_search_cannot_follow(
    digits_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.concertina"
    content = digits_file.read_bytes()
    cut.write_bytes(content[: len(content) - 1000])
    assert main(words(cut, tmp_path / "found.concertina")) == 2
    message = capsys.readouterr().err
    assert f"'{cut}' is not whole: got {len(content) - 1000:,} of {len(content):,} bytes" in message
    assert "Get the rest of the file" in message
    assert "--upto" not in message


def test_a_killed_search_goes_on_and_ends_as_one_never_killed(digits_file: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole.concertina", tmp_path / "killed.concertina"
    assert main(words(digits_file, whole, "--trials", "18")) == 0
    asked = words(digits_file, killed, "--trials", "18")
    journal = Path(f"{killed}.search")
    with subprocess.Popen([sys.executable, "-m", "concertina", *asked], stderr=subprocess.DEVNULL) as run:
        while run.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("killed")] == [journal.name]
    assert main([*asked, "--resume"]) == 0
    assert killed.read_bytes() == whole.read_bytes()
