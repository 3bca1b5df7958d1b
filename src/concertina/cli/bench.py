"""`concertina bench`: the packaged family, or your own, beside its peers on this machine."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertina.cli.console import Console
from concertina.cli.demo import BATCH_SIZE, HELD_OUT, LEARNING_RATE, NETWORK, TRAIN
from concertina.cli.family_file import check_buildable, look
from concertina.cli.inputs import check_data, check_folder, names
from concertina.cli.options import Common
from concertina.errors import InputError

if TYPE_CHECKING:
    from concertina.bench import FromFile, Source
    from concertina.family.options import FitOptions

EXAMPLE = "concertina bench --quick"
EPOCHS, POINTS = 12.0, (0.1, 0.25, 0.5, 0.75, 1.0)
QUICK_EPOCHS, QUICK_POINTS = 6.0, (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina bench`."""

    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A family file; the packaged digits network is used when left out."),
    ] = None
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Held-out data for FILE; without it no quality is measured.")
    ] = None
    quick: Annotated[
        bool, typer.Option("--quick", help="Short measurements, no rivals that are trained: under five minutes.")
    ] = False
    themes: Annotated[
        str,
        typer.Option(metavar="LIST", help="What to measure: quality, files, memory, runtimes, speed, switching; all."),
    ] = ""
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the run file goes.")] = Path()


def run(options: Options) -> None:
    """Measure a family beside its peers, write one JSON file and print Markdown tables.

    Quality beside a naive slice and Torch-Pruning, untuned and trained alone; bytes, switching times and memory beside
    separate files and networks; latency of views beside copies and networks built by hand; speed-ups in ONNX Runtime
    and OpenVINO where they are installed. Each figure stands beside its bar: met, not met, or not resolved where the
    machine was too busy or samples too few. Without FILE, sizes and structure are measured on a ResNet-56 too, whose
    weights need no training for that.
    """
    source = check(options)
    from concertina.bench import THEMES, run_bench, told
    from concertina.measure.runs import write_run

    for name in names(options.themes):
        THEMES.entry(name)
    console = Console(options)
    command = shlex.join(["concertina", *sys.argv[1:]])
    with console.progress("preparing") as progress:
        found = run_bench(source, quick=options.quick, themes=names(options.themes), progress=progress, command=command)
    path = write_run(options.output, found)
    text = told(found)
    console.result({"run": str(path), "markdown": text}, text)
    console.remark(f"wrote {path}")


def check(options: Options) -> Source | FromFile:
    """Refuse wrong options before anything slow is done; return what is to be measured.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
        FormatError: The file is not sound, or not whole.
    """
    check_folder(options.output, replace=True)
    if options.data is not None:
        if options.file is None:
            raise InputError("--data", asked="without FILE", allowed="with a family file")
        check_data(options.data)
    if options.file is not None:
        reach = look(options.file, "")
        call = f"FromFile(Path({str(options.file)!r}), data, YourNetwork())"
        check_buildable_as = f"from concertina.bench import FromFile, run_bench; run_bench({call}, quick=True)"
        check_buildable(options, reach, check_buildable_as)  # type: ignore[arg-type]
    from concertina.bench import FromFile

    return FromFile(options.file, options.data) if options.file is not None else _packaged(options.quick)


def _packaged(quick: bool) -> Source:
    """Return the demo's network and data, trained as there but for a shorter time."""
    from concertina.bench import Source

    settings: FitOptions = {"batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "epochs": EPOCHS}
    if quick:
        settings |= {"epochs": QUICK_EPOCHS, "order": "criterion"}
    return Source(NETWORK, TRAIN, HELD_OUT, QUICK_POINTS if quick else POINTS, settings)
