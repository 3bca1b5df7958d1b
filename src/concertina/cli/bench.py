"""`concertina bench`: the packaged family, or your own, beside its peers on this machine."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertina.cli.console import Console
from concertina.cli.demo import BATCH_SIZE, HELD_OUT, LEARNING_RATE, NETWORK, TRAIN
from concertina.cli.family_file import check_buildable, look
from concertina.cli.inputs import check_data, check_folder, names
from concertina.cli.options import Common
from concertina.errors import InputError, TruncatedError

if TYPE_CHECKING:
    from concertina.bench import FromFile, Source
    from concertina.family.options import FitOptions

EXAMPLE = "concertina bench --quick"
POINTS = (0.1, 0.25, 0.5, 1.0)
EPOCHS, QUICK_EPOCHS = 13.0, 6.0
"""Epochs of the demo's training, halved: just enough steps for an order by rehearsal; the quick run has none."""


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
    machine was too busy or samples too few; verdicts leave the exit code alone. Without FILE, sizes and structure are
    measured on a larger network too, whose weights need no training for that: a ResNet-56, or with --quick a ResNet-20.
    """
    source = check(options)
    from concertina.bench import THEMES, TITLES, reached, run_bench, told
    from concertina.measure.runs import write_run

    for name in names(options.themes):
        THEMES.entry(name)
    console = Console(options)
    with console.progress("preparing") as progress:
        found = run_bench(
            source, quick=options.quick, themes=names(options.themes), progress=progress, command=_command(options)
        )
    path = write_run(options.output, found)
    text, verdicts = told(found), [dict(zip(TITLES, row, strict=True)) for row in reached(found)]
    console.result({"run": str(path), "verdicts": verdicts, "markdown": text}, text)
    console.remark(f"wrote {path}")


def _command(options: Options) -> str:
    """Return what to type to measure this again, without the folders of this machine."""
    given = {"--data": Path(options.data or "").name, "--themes": options.themes}
    words = [*([options.file.name] if options.file else []), *(["--quick"] if options.quick else [])]
    words += [word for name, text in given.items() if text for word in (name, text)]
    return shlex.join(["concertina", "bench", *words])


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
        _check_file(options.file)
    from concertina.bench import FromFile

    return FromFile(options.file, options.data) if options.file is not None else _packaged(options.quick)


def _check_file(path: Path) -> None:
    try:
        reach = look(path, "")
    except TruncatedError as error:
        raise TruncatedError(str(error.where), asked=error.asked, do="Get the rest of the file.") from error
    call = f"FromFile(Path({str(path)!r}), data, YourNetwork())"
    words = f"from concertina.bench import FromFile, run_bench, told\n  print(told(run_bench({call}, quick=True)))"
    check_buildable(_Given(path), reach, words)


@dataclass(frozen=True)
class _Given:
    """The file that was given."""

    file: Path


def _packaged(quick: bool) -> Source:
    """Return the demo's network and data, trained as there but for a shorter time."""
    from concertina.bench import Source

    settings: FitOptions = {"batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "epochs": EPOCHS}
    if quick:
        settings |= {"epochs": QUICK_EPOCHS, "order": "criterion"}
    return Source(NETWORK, TRAIN, HELD_OUT, POINTS, settings)
