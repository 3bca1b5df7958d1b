"""`concertina report`: one offline page about a family file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from concertina.cli.console import Console
from concertina.cli.family_file import FamilyOptions, look
from concertina.cli.inputs import check_output

EXAMPLE = "concertina report digits.concertina -o report.html"


@dataclass(frozen=True, kw_only=True)
class Options(FamilyOptions):
    """Options of `concertina report`."""

    output: Annotated[Path, typer.Option("--output", "-o", metavar="PAGE", help="Page to write.")] = Path("report.html")
    title: Annotated[str, typer.Option(metavar="TEXT", help="Heading of the page; the file's name when left out.")] = ""
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace PAGE when it is there already.")] = False


def run(options: Options) -> None:
    """Write one HTML page about a family: its points, their costs and figures, and a plot; works offline.

    The file alone is enough, also for a family of a network of your own; no weight of it is read.
    """
    reach = look(options.file, options.upto)
    check_output(options.output, replace=options.yes, inputs=(options.file,))
    from concertina.report import file_data, write_report
    from concertina.save import open_artifact

    console = Console(options)
    with open_artifact(options.file) as artifact:
        data = file_data(artifact, options.title or f"{options.file.stem}: one network, every size", reach.here)
        if not artifact.complete:
            console.remark("measured figures lie at the end of the file, which is not here: the page is without them")
    write_report(data, options.output)
    console.result({"page": str(options.output)}, f"wrote {options.output}")
