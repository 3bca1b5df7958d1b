"""The server under test: a real `concertina serve` process on a core of its own, and what the system says of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concertina.errors import ConcertinaError

LOCAL = "127.0.0.1"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
START_S, END_S = 300, 60


@dataclass(frozen=True)
class Cores:
    """Where the two processes run; empty sets leave it to the system."""

    server: frozenset[int]
    client: frozenset[int]

    @property
    def pinned(self) -> bool:
        """Whether each has a core of its own."""
        return bool(self.server)


def two_cores() -> Cores:
    """Return a core for the server and another for the client, where there are two and the system lets us choose."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(allowed) < 2:
        return Cores(frozenset(), frozenset())
    return Cores(frozenset(allowed[:1]), frozenset(allowed[1:]))


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Keep this thread, and processes that it starts, on some cores for a while."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    port: int
    model: str
    cores: Cores
    metadata: dict[str, Any]
    """What it says of its model: points, times, inputs."""

    @property
    def path(self) -> str:
        """Path of the infer route."""
        return f"/v2/models/{self.model}/infer"

    def resident_bytes(self) -> int | None:
        """Return the memory that the process holds; None where the system does not tell."""
        return resident_bytes(self.pid)

    def times(self) -> tuple[float, float] | None:
        """Return the seconds that its core was busy, and those that it ran itself; None where that is not known."""
        return _times(self.pid, self.cores.server)


@contextmanager
def served(file: Path, cores: Cores, *options: str) -> Iterator[Server]:
    """Give a running server of a file; it is ended afterwards.

    Args:
        file: The family file.
        cores: Where it runs.
        *options: Of `concertina serve`.

    Raises:
        ConcertinaError: It does not start; the text holds what it said.
    """
    words = ["-m", "concertina", "serve", str(file), "--port", "0", "--json", "--quiet", *options]
    with tempfile.TemporaryFile() as said:
        with pinned(cores.server):
            process = python(words, said)
        try:
            yield _ready(process, said, cores)
        finally:
            _end(process)


def python(words: Sequence[str], errors: Any = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start this same Python with some words, its stdin and stdout as pipes.

    Args:
        words: What it runs; nothing of a family file or of data is among them.
        errors: Where its stderr goes.
    """
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *words], stdin=pipe, stdout=pipe, stderr=errors, env=os.environ | ENVIRONMENT
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _ready(process: subprocess.Popen[bytes], said: Any, cores: Cores) -> Server:
    text = b""
    while process.stdout is not None and not text.endswith(b"}\n") and (line := process.stdout.readline()):
        text += line
    try:
        told = json.loads(text)
    except ValueError as error:
        process.wait(END_S)
        said.seek(0)
        words = said.read().decode("utf-8", "replace").strip()[-500:]
        raise ConcertinaError("the server did not start", asked=words or "no word") from error
    port = int(told["url"].removeprefix(f"http://{LOCAL}:").partition("/")[0])
    with urllib.request.urlopen(told["url"], timeout=START_S) as answer:
        return Server(process.pid, port, told["model"], cores, json.load(answer))


def resident_bytes(pid: int | str = "self") -> int | None:
    """Return the memory that a process holds; None where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def foreign_share(
    before: tuple[float, float] | None, after: tuple[float, float] | None, seconds: float
) -> float | None:
    """Return the share of some time in which others ran on the server's core; None where that is not known.

    Args:
        before: What `Server.times` said at its start.
        after: What it said at its end.
        seconds: How long it was.

    Example:
        >>> round(foreign_share((10.0, 5.0), (18.0, 12.0), 10.0), 3)
        0.1
    """
    if before is None or after is None:
        return None
    busy, own = after[0] - before[0], after[1] - before[1]
    return max(0.0, busy - own) / seconds


def _times(pid: int, core: frozenset[int]) -> tuple[float, float] | None:
    tick = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
        own = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        fields = next(line.split() for line in lines if line.split()[0] in {f"cpu{one}" for one in core})
        user, nice, system, _idle, _io, _irq, _soft, steal = map(int, fields[1:9])
        return tick * (user + nice + system + steal), tick * (int(own[11]) + int(own[12]))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
