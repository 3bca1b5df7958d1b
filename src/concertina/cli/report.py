"""`concertina report`: one offline page about a family file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from concertina.cli.console import Console
from concertina.cli.inputs import check_file, check_output
from concertina.cli.options import Common

EXAMPLE = "concertina report digits.concertina -o report.html"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina report`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A family file.")]
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PAGE", help="Page to write.")] = Path("report.html")
    title: Annotated[str, typer.Option(metavar="TEXT", help="Heading of the page; the file's name when left out.")] = ""
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace PAGE when it is there already.")] = False


def run(options: Options) -> None:
    """Write one HTML page about a family: its points, their costs and figures, and a plot; works offline."""
    check_file(options.file)
    check_output(options.output, replace=options.yes)
    import concertina as ct
    from concertina.report import report_data, write_report

    write_report(report_data(ct.open(options.file), f"{options.file.stem}: one network, every size"), options.output)
    Console(options).result({"page": str(options.output)}, f"wrote {options.output}")
