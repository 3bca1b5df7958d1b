"""`concertina extract`: one network out of a family file, loadable without Concertina."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from concertina.cli.budgets import WITH, BudgetOptions, budget, check_latency, choose, in_python
from concertina.cli.console import Console, describe
from concertina.cli.facts import of_point
from concertina.cli.family_file import check_buildable, look, open_family
from concertina.cli.inputs import check_folder

EXAMPLE = "concertina extract digits.concertina --share 0.5 -o digits-half"


@dataclass(frozen=True, kw_only=True)
class Options(BudgetOptions):
    """Options of `concertina extract`."""

    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write.")]
    modules: Annotated[str, typer.Option("--with", metavar="LIST", help=WITH)] = ""
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace what is in FOLDER already.")] = False


def run(options: Options) -> None:
    """Write one network of a family as ordinary files, loadable without Concertina.

    FOLDER gets model.safetensors (usual state_dict keys), slim.json (module path -> sizes, removed blocks)
    and, where torch.export takes the network, model.pt2.
    """
    wanted = budget(options)
    reach = look(options.file, options.upto)
    check_latency(options, reach)
    check_buildable(options, reach, f"family.extract({str(options.output)!r}{_more(options)}{in_python(wanted)})")
    check_folder(options.output, replace=options.yes)
    from concertina.family.baking import point_with

    console = Console(options)
    with console.progress() as progress:
        progress("reading", 0.0)
        family = open_family(options, reach)
        point = choose(family, reach, wanted)
        progress(f"extracting {point.name}", 0.5)
        written = family.extract(options.output, point=point.name, modules=options.modules)
    data = of_point(point_with(family, point, options.modules)) | {
        "folder": str(written.folder),
        "files": list(written.files),
    }
    console.result(data, *describe(data))
    if written.program_refused:
        console.remark(f"no model.pt2: {written.program_refused}")


def _more(options: Options) -> str:
    return f", modules={options.modules!r}" if options.modules else ""
