"""`concertina export`: one point of a family file, or all of them, as files for another runtime."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concertina.cli.console import Console, Report, describe
from concertina.cli.extract import BUDGETS, budget
from concertina.cli.facts import of_point
from concertina.cli.inputs import check_data, check_file, check_output
from concertina.cli.options import Common
from concertina.errors import InputError, StorageError

if TYPE_CHECKING:
    from concertina.export import Agreement, RealInputs
    from concertina.family import Family

EXAMPLE = "concertina export digits.concertina --to onnx --share 0.5 -o half.onnx --data zoo:digits@test"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina export`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A family file.")]
    to: Annotated[str, typer.Option(metavar="NAME", help="Runtime to export to: onnx or openvino.")]
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="File to write; a folder with --all-points.")
    ]
    all_points: Annotated[
        bool, typer.Option("--all-points", help="All points as small graphs over one file of weights (onnx).")
    ] = False
    point: Annotated[str | None, typer.Option(metavar="NAME", help="The point of this name.")] = None
    share: Annotated[float | None, typer.Option(help="The largest point up to this share of the MACs.")] = None
    macs: Annotated[int | None, typer.Option(help="The largest point up to this many MACs.")] = None
    params: Annotated[int | None, typer.Option(help="The largest point up to this many parameters.")] = None
    size_bytes: Annotated[int | None, typer.Option(help="The largest point up to this many bytes of weights.")] = None
    latency_ms: Annotated[float | None, typer.Option(help="The largest point up to this latency on this machine.")] = (
        None
    )
    batch: Annotated[int, typer.Option(min=1, help="Inputs in one call, for --latency-ms.")] = 1
    threads: Annotated[int, typer.Option(min=1, help="Threads of the computation, for --latency-ms.")] = 1
    data: Annotated[str, typer.Option(metavar="DATA", help="Real inputs that the files are compared on too.")] = ""
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace OUT when it is there already.")] = False


def run(options: Options) -> int:
    """Write one point of a family, or all of them, as files that another runtime runs; any batch size.

    Every file is run and compared with its subnet before it is put in place: outputs within 1e-4 at several batch
    sizes, and the same first choice on real inputs (--data). A file that computes something else is not kept: exit 1.
    """
    wanted = check(options)
    import concertina as ct

    console = Console(options)
    with console.progress() as progress:
        progress("reading", 0.0)
        family = ct.open(options.file)
        real = _real_inputs(family, options)
        write = _all_points if options.all_points else _one_point
        data = write(family, options, wanted, real, progress)
    console.result(data, *describe(data))
    return 0


def check(options: Options) -> dict[str, Any]:
    """Refuse wrong options before anything slow is loaded; return the budget, empty for all points.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
    """
    check_file(options.file)
    if options.data:
        check_data(options.data)
    given = [f"--{name.replace('_', '-')}" for name in BUDGETS if getattr(options, name) is not None]
    if options.all_points and given:
        raise InputError("--all-points", asked=f"with {', '.join(given)}", allowed="without a budget")
    wanted = {} if options.all_points else budget(options)
    check_output(options.output, replace=options.yes)
    _check_exporter(options)
    return wanted


def _check_exporter(options: Options) -> None:
    from concertina.export import EXPORTERS

    exporter = EXPORTERS.get(options.to)
    exporter().require()
    if options.all_points:
        if not exporter.tags.shares_weights:
            sharing = ", ".join(f"--to {entry.name}" for entry in EXPORTERS if entry.part.tags.shares_weights)
            raise InputError("--all-points", asked=f"--to {options.to}", allowed=sharing)
        return
    if options.output.suffix != exporter.suffix:
        raise InputError("--output", asked=repr(options.output.name), allowed=f"a name that ends in {exporter.suffix}")
    if options.output.is_dir():
        raise StorageError(f"'{options.output}' is a folder", do="Give the name of a file.")


def _real_inputs(family: Family, options: Options) -> RealInputs | None:
    if not options.data:
        return None
    from concertina.family.runtimes import real_inputs
    from concertina.load import open_data

    core = family.core
    return real_inputs(family, open_data(options.data, preprocess=core.preprocess, class_names=core.class_names))


def _one_point(
    family: Family, options: Options, wanted: dict[str, Any], real: RealInputs | None, progress: Report
) -> dict[str, Any]:
    from concertina.export import export_point
    from concertina.family.runtimes import to_export

    point = family.choose(wanted.pop("share", None), **wanted)
    progress(f"exporting {point.name}", 0.5)
    made = export_point(options.to, to_export(family, point), options.output, real)
    files = [str(file) for file in made.files]
    return of_point(point) | {"files": files, "file_bytes": made.num_bytes, **_of_agreement(made.agreement)}


def _all_points(
    family: Family, options: Options, _wanted: dict[str, Any], real: RealInputs | None, progress: Report
) -> dict[str, Any]:
    from concertina.export import export_points
    from concertina.family.runtimes import to_export

    points = {point.name: point for point in family.points}
    made, agreements = export_points(
        [to_export(family, point) for point in points.values()], options.output, real, progress
    )
    return {
        "folder": str(made.folder),
        "weights": str(made.weights),
        "weight_bytes": made.weight_bytes,
        "graph_bytes": made.graph_bytes,
        "separate_bytes": made.separate_bytes,
        "saved_bytes": made.saved_bytes,
        "points": [
            of_point(points[name]) | {"file": str(path), **_of_agreement(agreements[name])}
            for name, path in made.graphs.items()
        ],
    }


def _of_agreement(found: Agreement) -> dict[str, Any]:
    facts = asdict(found) | {"batches": list(found.batches)}
    return {name: value for name, value in facts.items() if name != "top1"} | {"same_first_choice": found.top1 or None}
