"""`concertina measure`: figures of the points of a family file, on data and on this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from concertina.cli.console import Console, Report, table
from concertina.cli.inputs import check_data, check_file, names
from concertina.cli.options import Common
from concertina.errors import InputError

if TYPE_CHECKING:
    from concertina.family import Family
    from concertina.types import Record

EXAMPLE = "concertina measure digits.concertina --data zoo:digits@test --latency"
TITLES = ("point", "metric", "scope", "value", "low", "high", "unit", "n")


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina measure`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A family file.")]
    data: Annotated[str, typer.Option(metavar="DATA", help="Data to measure quality on.")] = ""
    points: Annotated[str, typer.Option(metavar="LIST", help="Points to show (p10,p50); all when left out.")] = ""
    latency: Annotated[bool, typer.Option("--latency", help="Measure latency on this machine too.")] = False
    batch: Annotated[int, typer.Option(min=1, help="Inputs in one call, for latency.")] = 1
    threads: Annotated[int, typer.Option(min=1, help="Threads of the computation, for latency.")] = 1
    runtime: Annotated[
        str, typer.Option(metavar="NAME", help="What runs it, for latency: eager (torch), onnx or openvino.")
    ] = "eager"
    save: Annotated[bool, typer.Option("--save", help="Keep the figures in FILE, written anew as a whole.")] = False


def run(options: Options) -> None:
    """Measure the points of a family: quality overall and by class on data, latency on this machine.

    Every figure comes with its 95% interval or spread and the number of samples or runs that it rests on.
    """
    check_file(options.file)
    if not options.data and not options.latency:
        raise InputError("nothing to measure", do="Give --data, --latency or both.")
    if options.data:
        check_data(options.data)
    _check_runtime(options)
    import concertina as ct

    console = Console(options)
    family = ct.open(options.file)
    for name in names(options.points):
        family.choose(point=name)
    with console.progress("measuring") as progress:
        records = [*_quality(family, options, progress), *_latency(family, options, progress)]
    if options.save:
        family.save(options.file)
    titles = ("point", "metric", "scope", "value", "low", "high", "unit", "n")
    called = {point.spec.text: point.name for point in family.points}
    rows = [{"point": called.get(record.spec, record.spec), **asdict(record)} for record in records]
    console.result(rows, table(titles, [[row[title] for title in titles] for row in rows]))


def _check_runtime(options: Options) -> None:
    if options.runtime == "eager":
        return
    if not options.latency:
        raise InputError("--runtime", asked=f"{options.runtime} without --latency", allowed="with --latency")
    from concertina.family.runtimes import check_runtime

    check_runtime(options.runtime)


def _quality(family: Family, options: Options, progress: Report) -> list[Record]:
    if not options.data:
        return []
    from concertina.family import measure_family
    from concertina.load import open_data

    core = family.core
    data = open_data(options.data, preprocess=core.preprocess, class_names=core.class_names)
    return measure_family(family, None, data, points=names(options.points), progress=progress)


def _latency(family: Family, options: Options, progress: Report) -> list[Record]:
    if not options.latency:
        return []
    progress("measuring latency", 0.0)
    found = family.measure_latency(batch=options.batch, threads=options.threads, runtime=options.runtime)
    wanted = {family.choose(point=name).spec.text for name in names(options.points)}
    return [record for record in found if not wanted or record.spec in wanted]
