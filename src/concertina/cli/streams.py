"""Standard input and output made safe to use, whatever the shell did to them."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


def settle() -> None:
    """Make streams that are closed lead nowhere, and let none of them fail for a character it does not know.

    A closed one would lend its number to the next file that is opened, and words would end up in there.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(message: str) -> None:
    """Write a line to stderr; when nobody can read it, nothing is lost by going on."""
    with suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


def let_go_of_stdout() -> None:
    """Point stdout nowhere, so that its last flush cannot fail again."""
    try:
        _let_go(sys.stdout)
    except (OSError, ValueError):
        sys.stdout = _nowhere()


def let_go_of_what_is_stuck() -> None:
    """Point streams nowhere that cannot be written to: Python's own last flush would fail, and hide the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                _let_go(stream)


def _let_go(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def hush() -> None:
    """Say no more on stderr."""
    sys.stderr = _nowhere()


def _nowhere() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(os.open(os.devnull, os.O_WRONLY), "w"), encoding="utf-8")
