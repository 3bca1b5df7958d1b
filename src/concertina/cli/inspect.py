"""`concertina inspect`: what a network can give up, or what a family file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from concertina.cli.console import Console, describe, listed, table
from concertina.cli.facts import in_short, of_file, of_network
from concertina.cli.family_file import UPTO, look
from concertina.cli.inputs import check_file, check_weights
from concertina.cli.options import Common
from concertina.errors import InputError

EXAMPLE = "concertina inspect zoo:digits-cnn"
FAMILY_FILE = "family.concertina"
"""Name of the file in a folder that `Family.save_pretrained` wrote."""


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina inspect`."""

    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A family file, or a network: zoo:NAME, hf:FOLDER, timm:NAME.")
    ]
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights of the network; packaged ones when left out.")
    ] = None
    upto: Annotated[str, typer.Option(metavar="POINT", help=UPTO)] = ""
    samples: Annotated[int, typer.Option(min=2, help="Training samples, to foretell what a training costs.")] = 10_000
    epochs: Annotated[float, typer.Option(help="Passes over them.")] = 4.0
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="List every group and block, with why it is not elastic.")
    ] = False


def run(options: Options) -> None:
    """Show what can be made elastic in a network and what that costs, or what a family file holds.

    Of a network: how much of it is elastic, how small it gets and what a training would cost; nothing is trained.
    Of a file: what its header says of its points, their costs and figures; no weight is read, nothing is run.
    """
    console = Console(options)
    if ":" in options.source and not Path(options.source).exists():
        _network(options, console)
    else:
        data = _file(options)
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
    if (path / "config.json").is_file():
        raise InputError(f"'{path}' is a folder", do=f"Did you mean 'hf:{path}'?")
    if (path / FAMILY_FILE).is_file():
        path = path / FAMILY_FILE
    check_file(path)
    return of_file(path, look(path, options.upto).here if options.upto else None)


def _network(options: Options, console: Console) -> None:
    from concertina.analyse import analyse
    from concertina.analyse.split_attention import with_split_attention
    from concertina.family import outlook
    from concertina.load import load

    if options.upto:
        raise InputError("--upto", asked=f"with the network '{options.source}'", allowed="with a family file")
    check_weights(options.weights)
    if not 0 <= options.epochs <= 1e6:
        raise InputError("--epochs", asked=f"{options.epochs:g}", allowed="0 to 1,000,000")
    with console.progress() as progress:
        core = with_split_attention(load(options.source, weights=options.weights))
        graph = analyse(core, progress=progress)
        ahead = outlook(core, graph, samples=options.samples, epochs=options.epochs)
    data = of_network(core, graph, ahead)
    parts = {name: data[name] for name in ("groups", "blocks")} if options.verbose else {}
    console.result(data, table(("what", "value"), in_short(core, graph, ahead)), *listed(parts))
    if not options.verbose and any(not group.elastic for group in graph.groups):
        console.remark("--verbose lists every group and block, with why it is not elastic")
