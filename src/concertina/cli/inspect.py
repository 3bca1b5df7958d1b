"""`concertina inspect`: what a network can give up, or what a family file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from concertina.cli.console import Console, describe
from concertina.cli.facts import of_file, of_network
from concertina.cli.family_file import UPTO, look
from concertina.cli.inputs import check_file, check_weights
from concertina.cli.options import Common
from concertina.errors import InputError

EXAMPLE = "concertina inspect zoo:digits-cnn"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina inspect`."""

    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A family file, or a network: zoo:NAME.")]
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights of the network; packaged ones when left out.")
    ] = None
    upto: Annotated[str, typer.Option(metavar="POINT", help=UPTO)] = ""


def run(options: Options) -> None:
    """Show which channels, heads and blocks of a network are elastic, or what a family file holds.

    Of a network: its coupled groups and its blocks, each verified or rigid with the reason.
    Of a file: what its header says of its points, their costs and figures; no weight is read, nothing is run.
    """
    console = Console(options)
    is_network = ":" in options.source and not Path(options.source).exists()
    data = _network(options, console) if is_network else _file(options)
    console.result(data, *describe(data))


def _file(options: Options) -> dict[str, Any]:
    if options.weights is not None:
        raise InputError("--weights", asked=f"with the file '{options.source}'", allowed="with a network, zoo:NAME")
    path = Path(options.source)
    if not options.source or not path.exists():
        from concertina.load import ZOO

        do = f"Did you mean 'zoo:{path}'?" if str(path) in ZOO.names() else ""
        raise InputError(
            f"'{options.source}' is not there", allowed="a family file, or a network such as zoo:digits-cnn", do=do
        )
    check_file(path)
    return of_file(path, look(path, options.upto).here if options.upto else None)


def _network(options: Options, console: Console) -> dict[str, Any]:
    from concertina.analyse import analyse
    from concertina.load import load

    if options.upto:
        raise InputError("--upto", asked=f"with the network '{options.source}'", allowed="with a family file")
    check_weights(options.weights)
    with console.progress() as progress:
        core = load(options.source, weights=options.weights)
        graph = analyse(core, progress=progress)
    return of_network(core, graph)
