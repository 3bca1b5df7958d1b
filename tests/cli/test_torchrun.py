"""`fit` as torchrun starts it: stopped in two processes, finished in one; what is wrong is said once."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import concertina as ct
from concertina.cli import main

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def commands_of_the_page(root: Path) -> list[list[str]]:
    """Return the commands of the page on several processes, as words."""
    found = re.findall(r"```sh\n(.*?)\n```", (root / "docs" / "processes.md").read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(command) for command in found]


def test_two_processes_stop_with_a_checkpoint_from_which_one_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    together, alone = commands_of_the_page(root)
    assert (together[0], alone[0]) == ("torchrun", "concertina")
    monkeypatch.chdir(tmp_path)
    heard: list[str] = []
    with subprocess.Popen([*TORCHRUN, *together[1:]], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:
            heard.append(line)
            if line.startswith("training ("):
                break
        run.send_signal(signal.SIGINT)
        said, rest = run.communicate(timeout=120)
    heard += rest.split("\n")
    assert run.returncode != 0
    assert said == ""
    assert sum(line.startswith("rating channels") for line in heard) == 1
    told = [
        line for line in heard if "keeps what was done; to go on: torchrun --nproc-per-node 2 -m concertina" in line
    ]
    assert len(told) == 1, heard
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.concertina.fit"]
    assert main(alone[1:]) == 0
    assert "begun by 2 processes, goes on with 1" in capsys.readouterr().err
    assert ct.open(tmp_path / "mlp.concertina").at(0.25)(ct.load("zoo:mlp").example_inputs[0]).shape[-1] == 10
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.concertina"]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_what_is_wrong_before_the_processes_meet_is_said_by_the_first(
    rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("concertina.cli.outcome.GRACE_S", 0.0)
    for name, value in {"RANK": rank, "WORLD_SIZE": "2"}.items():
        monkeypatch.setitem(os.environ, name, value)
    monkeypatch.setattr("concertina.cli.let_go_of_stdout", lambda: None)
    for words in (["inspect", "zoo:mlp"], ["fit", "zoo:mlp", "--recipe"]):
        with monkeypatch.context() as own:
            own.setattr(sys, "stderr", sys.stderr)
            assert main(words) == 2
        assert capsys.readouterr().err.count("error: ") == (rank == "0")
