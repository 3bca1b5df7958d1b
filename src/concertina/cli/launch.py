"""One command line that several processes run: which of them speaks, and which verbs they may run."""

from __future__ import annotations

import os

import typer

from concertina.errors import InputError, RankError

SHARED = "fit"
"""The verb that several processes may run together."""


def num_processes() -> int:
    """Return how many processes a launcher such as torchrun started for this command; 1 without one."""
    count = os.environ.get("WORLD_SIZE", "1")
    return int(count) if "RANK" in os.environ and count.isdecimal() else 1


def is_first() -> bool:
    """Return whether this process is the one that speaks and writes."""
    return num_processes() == 1 or os.environ["RANK"] == "0"


def launcher() -> list[str]:
    """Return the words that start so many processes of a command again; none for one process."""
    count = num_processes()
    return ["torchrun", "--nproc-per-node", str(count), "-m"] if count > 1 else []


def check_verb(words: list[str]) -> None:
    """Refuse a verb that several processes would run each for itself, all writing the same files.

    Args:
        words: What was typed after the program's name.

    Raises:
        InputError: It is such a verb; only the first process has it, the others leave without a word.
    """
    verb = next((word for word in words if not word.startswith("-")), SHARED)
    if num_processes() == 1 or verb == SHARED or {"--help", "-h"} & set(words):
        return
    if not is_first():
        raise typer.Exit(InputError.exit_code)
    asked = f"{verb!r} in {num_processes()} processes"
    raise InputError("verb", asked=asked, allowed=f"{SHARED!r} only", do=f"Run it by itself: concertina {verb} ...")


def is_said_elsewhere(error: BaseException) -> bool:
    """Return whether another process of this command says what went wrong.

    An error of the common work is told by the process that has it first, wrong usage by the first process.
    """
    return (isinstance(error, RankError) and error.quotes) or (
        isinstance(error, typer.TyperException) and not is_first()
    )
