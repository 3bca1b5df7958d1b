"""The command line, one file a verb. Add one: write the file, add its line to `VERBS`.

A verb's file holds a frozen dataclass of options and a function `run(options)`. Nothing that costs time is imported at
the top of these files, so that every `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Annotated, Any

import typer

from concertina.cli import (
    adapt,
    audit,
    bench,
    bench_serve,
    debias,
    demo,
    export,
    extract,
    fit,
    inspect,
    measure,
    methods,
    report,
    search,
    serve,
    specialize,
)
from concertina.cli.launch import check_verb, is_first
from concertina.cli.options import command, version
from concertina.cli.outcome import reported
from concertina.cli.streams import let_go_of_stdout, settle

__all__ = ["VERBS", "build_app", "main", "typed"]

VERBS = (
    inspect,
    fit,
    measure,
    audit,
    search,
    specialize,
    adapt,
    debias,
    extract,
    export,
    serve,
    report,
    demo,
    bench,
    bench_serve,
    methods,
)
"""Modules of the verbs, in the order of `concertina --help`."""


def typed(verb: ModuleType) -> str:
    """Return how a verb is typed: the name of its file, in two words where there are two.

    Example:
        >>> typed(fit), typed(bench_serve)
        ('fit', 'bench serve')
    """
    return verb.__name__.rpartition(".")[2].replace("_", " ")


class _Words(typer.core.TyperGroup):
    """Knows verbs of two words, beside one that has the first of them as its name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take the first two words for one verb where they are."""
        both = " ".join(args[:2])
        return super().resolve_command(ctx, [both, *args[2:]] if both in self.commands else args)


def build_app() -> typer.Typer:
    """Return the command line as a typer application."""
    app = typer.Typer(
        name="concertina",
        cls=_Words,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )

    @app.callback(epilog="Example: concertina demo")
    def concertina(
        show_version: Annotated[
            bool, typer.Option("--version", help="Print the version and leave.", callback=version, is_eager=True)
        ] = False,
    ) -> None:
        """Turn one pre-trained PyTorch network into a whole family of networks in one safe file."""

    for verb in VERBS:
        decorate = app.command(typed(verb), short_help=_in_short(verb), epilog=f"Example: {verb.EXAMPLE}")
        decorate(command(verb.Options, verb.run))
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Words after the program's name; those of this process when left out.

    Returns:
        0 ok, 1 a check or bound failed, 2 bad usage or input, 3 internal error, 130 interrupted.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    settle()
    if not is_first():
        let_go_of_stdout()
    return reported(lambda: _run(words), debug="--debug" in words)


def _in_short(verb: ModuleType) -> str:
    """Return what a verb's file says of it on its first line."""
    said = (verb.__doc__ or "").split("\n")[0].partition(": ")[2]
    return said[:1].upper() + said[1:]


def _run(words: list[str]) -> int:
    check_verb(words)
    program = typer.main.get_command(build_app())
    with program.make_context("concertina", words or ["--help"]) as context:
        code = program.invoke(context)
    sys.stdout.flush()
    return code or 0
