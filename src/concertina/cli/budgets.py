"""The budget options that choose one point of a family, and the point they choose."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concertina.cli.family_file import FamilyOptions, Reach
from concertina.cli.options import as_option
from concertina.errors import BudgetError, InputError, PointError

if TYPE_CHECKING:
    from concertina.family import Family
    from concertina.types import Point

MEMORY_PART = 32
"""Inputs of a call may take a 32nd of the memory: what is computed from them takes many times more."""
WITH = "Modules of the file to merge into it (reviews,-gender): changes of weights."
"""Help of `--with` where networks leave the family."""
BUDGETS = ("point", "share", "macs", "params", "size_bytes", "latency_ms")


@dataclass(frozen=True, kw_only=True)
class BudgetOptions(FamilyOptions):
    """Options of verbs that take one point out of a family."""

    point: Annotated[str | None, typer.Option(metavar="NAME", help="The point of this name.")] = None
    share: Annotated[float | None, typer.Option(help="The largest point up to this share of the MACs.")] = None
    macs: Annotated[int | None, typer.Option(help="The largest point up to this many MACs.")] = None
    params: Annotated[int | None, typer.Option(help="The largest point up to this many parameters.")] = None
    size_bytes: Annotated[int | None, typer.Option(help="The largest point up to this many bytes of weights.")] = None
    latency_ms: Annotated[float | None, typer.Option(help="The largest point up to this latency on this machine.")] = (
        None
    )
    batch: Annotated[int, typer.Option(min=1, help="Inputs in one call, for --latency-ms.")] = 1
    threads: Annotated[int, typer.Option(min=1, help="Threads of the computation, for --latency-ms.")] = 1


def budget(options: BudgetOptions) -> dict[str, Any]:
    """Return the one budget given, as keywords of `Family.choose`.

    Raises:
        InputError: None was given, or more than one.
    """
    given = {name: value for name in BUDGETS if (value := getattr(options, name)) is not None}
    if len(given) != 1:
        allowed = ", ".join(map(as_option, BUDGETS))
        raise InputError(
            "budget", asked=", ".join(map(as_option, given)) or "none", allowed=f"exactly one of {allowed}"
        )
    if "latency_ms" in given:
        given |= {"batch": options.batch, "threads": options.threads}
    return given


def choose(family: Family, reach: Reach, wanted: dict[str, Any]) -> Point:
    """Return the largest point within a budget.

    Raises:
        BudgetError: Nothing fits; the text names the smallest possible budget.
        PointError: There is no such point, or it lies after `--upto`.
    """
    try:
        return family.choose(wanted.get("share"), **{name: value for name, value in wanted.items() if name != "share"})
    except BudgetError as error:
        raise _reworded(error) from error
    except PointError as error:
        here, stored = ({point.name for point in points} for points in (reach.here, reach.stored))
        if here == stored or wanted.get("point", "") not in {"", *stored}:
            raise
        raise PointError(error.where, allowed=f"up to {reach.upto}", do="Give a later --upto, or none.") from error


@contextmanager
def worded_as_options() -> Iterator[None]:
    """Let errors about keywords of Python speak in words of the command line: "option macs" becomes "--macs"."""
    try:
        yield
    except InputError as error:
        raise _reworded(error) from error


def _reworded(error: InputError) -> InputError:
    where, allowed, do = (_in_options(text) for text in (error.where, error.allowed, error.do))
    reworded = type(error)(where, asked=error.asked, allowed=allowed, do=do)
    for note in getattr(error, "__notes__", ()):
        reworded.add_note(note)
    return reworded


def _in_options(text: str) -> str:
    """Return a text about keywords in words of the command line: "option macs" or "macs=5" becomes "--macs 5"."""
    text = re.sub(r"\boption ([a-z_]+)\b", lambda found: as_option(found[1]), text)
    for name in BUDGETS:
        text = re.sub(rf"\b{name}=(?=\w)", f"{as_option(name)} ", text)
        text = re.sub(rf"\b{name}=", as_option(name), text)
    return text


def check_latency(options: BudgetOptions, reach: Reach) -> None:
    """Refuse a `--latency-ms` that this machine cannot time; errors as `check_calls`."""
    if options.latency_ms is not None:
        check_calls(options.batch, options.threads, reach)


def check_calls(batch: int, threads: int, reach: Reach) -> None:
    """Refuse calls that this machine cannot time.

    Args:
        batch: Inputs in one call.
        threads: Threads of the call.
        reach: Tells how large an input is.

    Raises:
        InputError: There are more threads than cores, or the inputs alone would take too much of the memory.
    """
    cores, memory = os.cpu_count() or 1, _memory_bytes()
    if threads > cores:
        raise InputError("--threads", asked=f"{threads:,}", allowed=f"1 to {cores}, the cores of this machine")
    most = max(1, memory // MEMORY_PART // max(1, reach.input_bytes))
    if batch > most:
        allowed = f"1 to {most:,}, with inputs in 1/{MEMORY_PART} of this machine's memory"
        raise InputError("--batch", asked=f"{batch:,}", allowed=allowed)


def _memory_bytes() -> int:
    """Return the bytes of this machine's memory, or a large number where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 2**40


def in_python(wanted: dict[str, Any]) -> str:
    """Return a budget as arguments of `Family.extract` and `Family.export`, after a comma.

    Example:
        >>> in_python({"share": 0.5})
        ', share=0.5'
    """
    return "".join(f", {name}={value!r}" for name, value in wanted.items())
