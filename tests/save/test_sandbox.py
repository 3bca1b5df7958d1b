"""Opening hostile and damaged files runs no code, imports nothing, and touches no file but the one that was given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WATCHED = """
import sys
from pathlib import Path

import numpy as np
from tests.save.attacks import container, manifest, tables
from tests.save.attacks.base import ATTACKS, sound

from concertina.errors import ConcertinaError
from concertina.save import open_artifact

FORBIDDEN = ("exec", "compile", "import", "marshal.", "pickle.", "subprocess.", "socket.", "ctypes.", "urllib.",
             "code.", "os.", "shutil.", "tempfile.", "glob.", "fcntl.", "mmap.", "signal.", "webbrowser.", "http.")
path = Path(sys.argv[1])
rng = np.random.default_rng(0)
files = [attack.build() for attack in ATTACKS] + [sound()]
for _ in range(200):
    damaged = bytearray(sound())
    damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
    files += [bytes(damaged), sound()[: rng.integers(len(damaged))]]
watching, offences, seen = False, [], set()


def watch(event, arguments):
    if watching:
        seen.add(event)
        if event.startswith(FORBIDDEN) or (event == "open" and Path(arguments[0]) != path):
            offences.append((event, repr(arguments)[:200]))


sys.addaudithook(watch)
opened = 0
for data in files:
    path.write_bytes(data)
    watching = True
    try:
        with open_artifact(path) as artifact:
            artifact.read("available")
            artifact.tables()
            opened += 1
    except ConcertinaError as error:
        str(error)
    finally:
        watching = False
print(len(files), opened, sorted(seen), offences)
sys.exit(bool(offences) or "open" not in seen or opened < 5)
"""


def test_nothing_runs_and_nothing_else_is_opened(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WATCHED, str(tmp_path / "x.concertina")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("[]\n")
