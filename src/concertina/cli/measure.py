"""`concertina measure`: figures of the points of a family file, on data and on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concertina.cli.budgets import check_calls
from concertina.cli.console import Console, Report, table
from concertina.cli.data import TextOptions, check_tokenizer, opened
from concertina.cli.family_file import FamilyOptions, Reach, check_buildable, look, open_family
from concertina.cli.inputs import check_data, check_points, names
from concertina.errors import InputError

if TYPE_CHECKING:
    from concertina.family import Family
    from concertina.types import Record

EXAMPLE = "concertina measure digits.concertina --data zoo:digits@test --latency"
TITLES = ("point", "metric", "scope", "value", "low", "high", "unit", "n")


@dataclass(frozen=True, kw_only=True)
class Options(TextOptions, FamilyOptions):
    """Options of `concertina measure`."""

    data: Annotated[str | None, typer.Option(metavar="DATA", help="Data to measure quality on.")] = None
    modules: Annotated[
        str,
        typer.Option("--with", metavar="LIST", help="Modules of the file to plug in (reviews,-gender), for quality."),
    ] = ""
    points: Annotated[str, typer.Option(metavar="LIST", help="Points to show (p10,p50); all when left out.")] = ""
    latency: Annotated[bool, typer.Option("--latency", help="Measure latency on this machine too.")] = False
    batch: Annotated[int, typer.Option(min=1, help="Inputs in one call, for latency.")] = 1
    threads: Annotated[int, typer.Option(min=1, help="Threads of the computation, for latency.")] = 1
    runtime: Annotated[
        str, typer.Option(metavar="NAME", help="What runs it, for latency: eager (torch), onnx or openvino.")
    ] = "eager"
    save: Annotated[bool, typer.Option("--save", help="Keep the figures in FILE, written anew as a whole.")] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every figure, those by class too.")] = False


def run(options: Options) -> None:
    """Measure the points of a family: quality overall and by class on data, latency on this machine.

    A line a point, with 95% intervals and the number of samples; --verbose and --json give every figure.
    """
    reach = check(options)
    console = Console(options)
    family = open_family(options, reach)
    with console.progress("measuring") as progress:
        records = [*_quality(family, options, progress), *_latency(family, options, progress)]
    if options.save:
        family.save(options.file)
    called = {point.spec.text: point.name for point in family.points}
    rows = [{"point": called.get(record.spec, record.spec), **asdict(record)} for record in records]
    if options.verbose:
        console.result(rows, table(TITLES, [[_cell(row, title) for title in TITLES] for row in rows]))
        return
    from concertina.report import points_notes, points_table

    measured = {record.spec for record in records}
    told = [replace(record, scope="") if record.scope.startswith("module") else record for record in records]
    cells = points_table([point for point in family.points if point.spec.text in measured], told)
    notes = [f"quality: with {options.modules}"] * bool(options.modules)
    console.result(rows, table(*cells), *notes, *points_notes(records))


def check(options: Options) -> Reach:
    """Refuse wrong options before anything slow is loaded; return what the header says.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
        FormatError: The file is not sound, or not whole.
    """
    if options.data is None and not options.latency:
        raise InputError("nothing to measure", do="Give --data, --latency or both.")
    if options.data is not None:
        check_data(options.data)
        check_tokenizer(options)
    elif options.modules:
        raise InputError("--with", asked="without --data", allowed="together with it")
    reach = look(options.file, options.upto)
    check_points(names(options.points), [point.name for point in reach.here])
    if options.save and len(reach.here) < len(reach.stored):
        raise InputError("--save", asked=f"with --upto {options.upto}", allowed="with all points of the file")
    if options.latency:
        check_calls(options.batch, options.threads, reach)
    check_buildable(options, reach, _in_python(options))
    _check_runtime(options)
    return reach


def _in_python(options: Options) -> str:
    latency = f"family.measure_latency(batch={options.batch}, threads={options.threads}, runtime={options.runtime!r})"
    return "\n  ".join(["family.measure(data)"] * (options.data is not None) + [latency] * options.latency)


def _check_runtime(options: Options) -> None:
    if options.runtime == "eager":
        return
    if not options.latency:
        raise InputError("--runtime", asked=f"{options.runtime} without --latency", allowed="with --latency")
    from concertina.family.runtimes import check_runtime

    check_runtime(options.runtime)


def _quality(family: Family, options: Options, progress: Report) -> list[Record]:
    if options.data is None:
        return []
    if options.modules:
        from concertina.family.composing import composition

        chosen = composition(family.modules, options.modules)
        own, task = next(
            ((module.class_names, module.task) for module in chosen if module.heads), (family.core.class_names, "")
        )
        data = opened(options.data, replace(family.core, class_names=own, task=task or family.core.task), options)
        return family.measure_with(data, options.modules, points=names(options.points))
    data = opened(options.data, family.core, options)
    return family.measure(data, points=names(options.points), progress=progress)


def _latency(family: Family, options: Options, progress: Report) -> Sequence[Record]:
    if not options.latency:
        return []
    progress("measuring latency", 0.0)
    found = family.measure_latency(batch=options.batch, threads=options.threads, runtime=options.runtime)
    wanted = {family.choose(point=name).spec.text for name in names(options.points)}
    return [record for record in found if not wanted or record.spec in wanted]


def _cell(row: dict[str, Any], title: str) -> object:
    """Return a cell of the long table; counts are whole numbers."""
    value = row[title]
    return int(value) if isinstance(value, float) and value.is_integer() and row["unit"] != "share" else value
