"""`concertina inspect`: what a network can give up, or what a family file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from concertina.cli.console import Console, describe
from concertina.cli.facts import of_file, of_network
from concertina.cli.inputs import check_file
from concertina.cli.options import Common
from concertina.errors import InputError

EXAMPLE = "concertina inspect zoo:digits-cnn"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina inspect`."""

    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A family file, or a network: zoo:NAME.")]
    weights: Annotated[
        str, typer.Option(metavar="FILE", help="Weights of the network; packaged ones when left out.")
    ] = ""


def run(options: Options) -> None:
    """Show which channels, heads and blocks of a network are elastic, or what a family file holds.

    Of a network: its coupled groups and its blocks, each verified or rigid with the reason.
    Of a file: what its header says of its points, their costs and figures; no weight is read, nothing is run.
    """
    console = Console(options)
    data = _network(options, console) if options.source.startswith("zoo:") else _file(options)
    console.result(data, *describe(data))


def _file(options: Options) -> dict[str, Any]:
    if options.weights:
        raise InputError("--weights", asked=f"with the file '{options.source}'", allowed="with a network, zoo:NAME")
    check_file(Path(options.source))
    return of_file(Path(options.source))


def _network(options: Options, console: Console) -> dict[str, Any]:
    from concertina.analyse import analyse
    from concertina.load import load

    with console.progress() as progress:
        core = load(options.source, weights=options.weights or None)
        graph = analyse(core, progress=progress)
    return of_network(core, graph)
