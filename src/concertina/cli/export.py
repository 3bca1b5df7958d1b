"""`concertina export`: one point of a family file, or all of them, as files for another runtime."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concertina.cli.budgets import BUDGETS, WITH, BudgetOptions, budget, check_latency, choose, in_python
from concertina.cli.console import Console, Report, describe
from concertina.cli.data import TextOptions, check_tokenizer, opened
from concertina.cli.facts import of_point
from concertina.cli.family_file import Reach, check_buildable, look, open_family
from concertina.cli.inputs import check_data, check_folder, check_output, data_path
from concertina.cli.layouts import TRITON, check_triton, model_name, write_triton
from concertina.cli.options import as_option
from concertina.errors import InputError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from concertina.export import Agreement, RealInputs
    from concertina.family import Family
    from concertina.load.data import TensorData

EXAMPLE = "concertina export digits.concertina --to onnx --share 0.5 -o half.onnx --data zoo:digits@test"


@dataclass(frozen=True, kw_only=True)
class Options(TextOptions, BudgetOptions):
    """Options of `concertina export`."""

    to: Annotated[str, typer.Option(metavar="NAME", help="Runtime to export to: onnx or openvino; triton.")]
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="File to write; with --all-points or triton a folder.")
    ]
    all_points: Annotated[
        bool, typer.Option("--all-points", help="All points as small graphs over one file of weights (onnx).")
    ] = False
    name: Annotated[str, typer.Option(metavar="NAME", help="triton: name of the model; else the file's name.")] = ""
    max_batch: Annotated[
        int | None, typer.Option(min=1, max=4096, help="triton: most inputs that it may join in one call (16).")
    ] = None
    modules: Annotated[str, typer.Option("--with", metavar="LIST", help=WITH)] = ""
    data: Annotated[str, typer.Option(metavar="DATA", help="Real inputs that the files are compared on too.")] = ""
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace OUT when it is there already.")] = False


def run(options: Options) -> int:
    """Write one point of a family, or all of them, as files that another runtime runs; any batch size.

    Every file is run and compared with its subnet before it is put in place: outputs within 1e-4 at several batch
    sizes, and the same first choice on real inputs (--data). A file that computes something else is not kept: exit 1.
    With --to triton OUT is a model repository: one model, whose versions are the points, 1 the smallest.
    """
    wanted, reach = check(options)
    from concertina.family.baking import point_with

    console = Console(options)
    with console.progress() as progress:
        progress("reading", 0.0)
        family = open_family(options, reach)
        if options.to == TRITON:
            data = write_triton(family, options, _real_inputs(family, options), progress)
        elif options.all_points:
            data = _all_points(family, options, progress)
        else:
            point, real = choose(family, reach, wanted), _real_data(family, options)
            progress(f"exporting {point.name}", 0.5)
            made = family.export(options.output, point=point.name, to=options.to, data=real, modules=options.modules)
            data = of_point(point_with(family, point, options.modules))
            data |= {"files": [str(file) for file in made.files], "file_bytes": made.num_bytes}
            data |= _of_agreement(made.agreement)
    console.result(data, *describe(data))
    return 0


def check(options: Options) -> tuple[dict[str, Any], Reach]:
    """Refuse wrong options before anything slow is loaded; return the budget, empty for all points, and the header.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
        FormatError: The file is not sound, or not whole.
    """
    given = [as_option(name) for name in BUDGETS if getattr(options, name) is not None]
    together = options.all_points or options.to == TRITON
    if together and given:
        what = f"--to {TRITON}" if options.to == TRITON else "--all-points"
        raise InputError(what, asked=f"with {', '.join(given)}", allowed="without a budget: all points go together")
    if options.all_points and options.to != TRITON and options.modules:
        raise InputError("--with", asked="with --all-points, whose points share their weights", allowed="without it")
    if options.to != TRITON and (options.name or options.max_batch is not None):
        raise InputError("--name" if options.name else "--max-batch", allowed=f"with --to {TRITON}")
    wanted = {} if together else budget(options)
    reach = look(options.file, options.upto)
    check_latency(options, reach)
    check_buildable(options, reach, _in_python(options, wanted))
    if options.data:
        check_data(options.data)
    _check_exporter(options)
    return wanted, reach


def _in_python(options: Options, wanted: dict[str, Any]) -> str:
    data = ", data=data" if options.data else ""
    data += f", modules={options.modules!r}" if options.modules else ""
    if options.to == TRITON:
        return f"family.export_triton({str(options.output)!r}, {model_name(options)!r}{data})"
    if options.all_points:
        return f"family.export_all({str(options.output)!r}{data})"
    return f"family.export({str(options.output)!r}, to={options.to!r}{in_python(wanted)}{data})"


def _check_exporter(options: Options) -> None:
    from concertina.export import EXPORTERS, LAYOUTS

    check_tokenizer(options)
    known = (*EXPORTERS.names(), *LAYOUTS.names())
    if options.to not in known:
        do = did_you_mean(options.to, known)
        raise UnknownNameError("unknown exporter", asked=repr(options.to), allowed=", ".join(known), do=do)
    if options.to == TRITON:
        check_triton(options)
        return
    exporter = EXPORTERS.get(options.to)
    exporter().require()
    if options.all_points:
        if not exporter.tags.shares_weights:
            sharing = ", ".join(f"--to {entry.name}" for entry in EXPORTERS if entry.part.tags.shares_weights)
            raise InputError("--all-points", asked=f"--to {options.to}", allowed=sharing)
        check_folder(options.output, replace=options.yes)
        return
    if options.output.suffix != exporter.suffix:
        raise InputError("--output", asked=repr(options.output.name), allowed=f"a name that ends in {exporter.suffix}")
    check_output(options.output, replace=options.yes, inputs=(options.file, data_path(options.data)))


def _real_data(family: Family, options: Options) -> TensorData | None:
    return opened(options.data, family.core, options) if options.data else None


def _real_inputs(family: Family, options: Options) -> RealInputs | None:
    from concertina.family.runtimes import real_inputs

    data = _real_data(family, options)
    return None if data is None else real_inputs(family, data)


def _all_points(family: Family, options: Options, progress: Report) -> dict[str, Any]:
    from concertina.export import export_points
    from concertina.family.runtimes import to_export

    points = {point.name: point for point in family.points}
    made, agreements = export_points(
        [to_export(family, point) for point in points.values()],
        options.output,
        _real_inputs(family, options),
        progress,
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
