"""`concertina methods`: which published methods are built in, and what shows that they work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from concertina.cli.console import Console, table
from concertina.cli.options import Common

EXAMPLE = "concertina methods --status works"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina methods`."""

    status: Annotated[str, typer.Option(metavar="STATUS", help="Only methods that are: none, part or works.")] = ""
    family: Annotated[str, typer.Option(metavar="LETTER", help="Only methods of one family, such as W for width.")] = ""
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the evidence too.")] = False


def run(options: Options) -> None:
    """List the published methods that Concertina follows, with verb and status.

    works: a test or a measured record shows it. part: something of it is built. none: not yet.
    --verbose and --json tell the evidence too.
    """
    from concertina.methods import FAMILIES, STATUSES, choose, load_methods

    chosen = choose(load_methods(), status=options.status, family=options.family.upper())
    titles = ["id", "family", "status", "verb", "capability"] + ["evidence"] * options.verbose
    rows = [
        [m.id, m.family, m.status, m.verb, m.capability] + ["; ".join(m.evidence)] * options.verbose for m in chosen
    ]
    counts = ", ".join(f"{sum(m.status == status for m in chosen)} {status}" for status in STATUSES)
    letters = ", ".join(f"{letter} {FAMILIES[letter]}" for letter in dict.fromkeys(m.family for m in chosen))
    closing = f"{len(chosen)} methods: {counts}; families: {letters or 'none'}"
    Console(options).result([asdict(method) for method in chosen], table(titles, rows), closing)
