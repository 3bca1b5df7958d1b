"""`concertina specialize`: a family file for some of its classes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from concertina.cli.console import Console, records_table
from concertina.cli.facts import of_file
from concertina.cli.family_file import check_buildable, look
from concertina.cli.inputs import check_output
from concertina.cli.options import Common
from concertina.errors import InputError

EXAMPLE = "concertina specialize digits.concertina --classes 3,5,8 --keep-other -o three.concertina"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina specialize`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="Family file.", show_default=False)]
    classes: Annotated[str, typer.Option(metavar="LIST", help="Classes to keep, by name, in their new order.")]
    keep_other: Annotated[
        bool, typer.Option("--keep-other", help="One more output, called other, for all other classes together.")
    ] = False
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Family file to write.")]
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace the output when it is there already.")] = False


def run(options: Options) -> None:
    """Cut a family to some of its classes: the same sizes and channels, fewer outputs.

    No data is needed and nothing is trained: among the classes kept, every point answers as before.
    """
    check_output(options.output, replace=options.yes, inputs=(options.file,))
    classes = [name.strip() for name in options.classes.split(",") if name.strip()]
    if not classes:
        raise InputError("--classes", asked=repr(options.classes), allowed="names of classes, such as cat,dog")
    reach = look(options.file, None)
    check_buildable(options, reach, f"family.for_classes({classes!r}).save({str(options.output)!r})")
    import concertina as ct

    console = Console(options)
    with console.progress() as progress:
        progress("reading", 0.0)
        family = ct.open(options.file)
        progress("cutting the head", 0.5)
        family.for_classes(classes, other=options.keep_other).save(options.output)
    data = of_file(options.output)
    console.result(data, records_table(data["points"]))
    console.remark(f"wrote {options.output}; next: concertina measure {shlex.quote(str(options.output))} --data DATA")
