"""Closed streams, readers that leave, strange locales, and Ctrl-C before anything has begun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Files

PROGRAM = f"{sys.executable} -m concertina"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell, as a user types it."""
    return subprocess.run(
        ["/bin/sh", "-c", line],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        errors="replace",
        env=os.environ | {"PYTHONUNBUFFERED": ""} | environment,  # buffers as a user has them
    )


def test_a_closed_stdout_is_no_error_and_no_file_gets_the_words(files: Files, tmp_path: Path) -> None:
    done = shell(f"{PROGRAM} inspect {files.zoo} >&-")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell(f"{PROGRAM} report {files.zoo} -o {tmp_path}/page.html >&- 2>&- <&-")
    assert done.returncode == 0
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_errors_never_land_on_stdout(tmp_path: Path) -> None:
    done = shell(f"{PROGRAM} inspect {tmp_path}/none 2>&-")
    assert (done.returncode, done.stdout) == (2, "")
    assert shell(f"{PROGRAM} inspect {tmp_path}/none 2>/dev/full").returncode == 2


@pytest.mark.parametrize("words", ["inspect {0}", "inspect {0} --json", "methods", "--help", "fit --help"])
def test_a_full_disk_under_the_result_is_one_clear_message(words: str, files: Files) -> None:
    done = shell(f"{PROGRAM} {words.format(files.zoo)} >/dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no space left on the device.")
    assert done.stderr.count("\n") == 1


def test_a_reader_of_remarks_that_leaves_does_not_stop_the_work(tmp_path: Path) -> None:
    words = f"fit zoo:mlp --data zoo:digits@validation --epochs 0 --points 1 -o {tmp_path}/x.concertina"
    done = shell(f"{PROGRAM} {words} 2>&1 >/dev/null | head -c 1")
    assert done.returncode == 0
    assert (tmp_path / "x.concertina").is_file()


def test_a_plain_locale_takes_any_name_and_leaves_nothing_behind(files: Files, tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in (f"extract {files.zoo} --share 1 -o {tmp_path}/é", f"report {files.zoo} -o {tmp_path}/ü.html"):
        done = shell(f"{PROGRAM} {words}", **plain)
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["é", "ü.html"]
    assert sorted(path.name for path in (tmp_path / "é").iterdir()) == ["model.pt2", "model.safetensors", "slim.json"]


def test_ctrl_c_while_the_program_loads_is_quiet() -> None:
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'concertina.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from concertina.__main__ import main\n"
        "print({'typing', 'difflib', 'rich', 'typer'} & (set(sys.modules) - before))\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "set()\n", "interrupted\n")
