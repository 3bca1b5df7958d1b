"""`concertina debias`: a module that takes an attribute out of a family's representation on demand."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concertina.cli.console import Console, records_table
from concertina.cli.data import TextOptions, check_tokenizer, opened
from concertina.cli.family_file import check_buildable, look
from concertina.cli.inputs import check_data, check_output, data_path, names
from concertina.cli.options import Common, as_option
from concertina.errors import InputError

if TYPE_CHECKING:
    from concertina.types import Record

EXAMPLE = "concertina debias adult.concertina --name gender --attribute sex --data train.csv"


@dataclass(frozen=True, kw_only=True)
class Options(TextOptions, Common):
    """Options of `concertina debias`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="Family file.", show_default=False)]
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call the module.")]
    data: Annotated[str, typer.Option(metavar="DATA", help="Labelled training table: a .parquet or .csv file.")]
    attribute: Annotated[str, typer.Option(metavar="COLUMN", help="Column whose information is taken out.")]
    held: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Samples to measure on; one of five of --data when left out."),
    ] = None
    values: Annotated[
        str, typer.Option(metavar="LIST", help="Values of the attribute that count; all when left out.")
    ] = ""
    target: Annotated[str, typer.Option(metavar="COLUMN", help="Column of labels, to be checked.")] = ""
    by: Annotated[str, typer.Option(metavar="LIST", help="Ways of removal.")] = "hsic,adversary"
    strength: Annotated[float, typer.Option(help="How much removal counts beside the task.")] = 1.0
    beside: Annotated[
        str, typer.Option(metavar="LIST", help="Modules of FILE, of other attributes, that it is to be used with.")
    ] = ""
    layer: Annotated[
        str, typer.Option(metavar="PATH", help="Layer whose input is cleaned; the last when left out.")
    ] = ""
    penalty: Annotated[
        float | None, typer.Option(help="What a changed weight costs: more for fewer of them.", show_default=False)
    ] = None
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the data; 600 steps or more unless said.", show_default=False)
    ] = None
    batch_size: Annotated[int, typer.Option(help="Samples in a training step, 2 or more.")] = 256
    learning_rate: Annotated[float, typer.Option(help="Largest learning rate.")] = 0.01
    seed: Annotated[int, typer.Option(help="Equal seeds give equal results.")] = 0
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Family file to write; FILE itself unless said."),
    ] = None
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace the output when it is there already.")] = False


PASSED_ON = ("strength", "layer", "epochs", "batch_size", "learning_rate", "seed")
"""Options that the library takes by the same names."""
OF_LIBRARY = (*PASSED_ON, "attribute", "by", "target")


def run(options: Options) -> None:
    """Train a module that takes an attribute out of the representation, at every size of a family.

    What is left of it is measured by fresh probes on held-out samples, and so is every group's accuracy before and
    after. The core stays bit for bit as it is; 'concertina measure FILE --with -NAME' plugs the module in.
    """
    check(options)
    reach = look(options.file, None)
    call = f"family.debias({options.name!r}, data, attribute={options.attribute!r})"
    check_buildable(options, reach, call)
    import concertina as ct

    console = Console(options)
    with console.progress() as progress:
        progress("reading", 0.0)
        family = ct.open(options.file)
        family.modules.check_new(options.name)
        data = opened(options.data, family.core, options, progress)
        held: Any = opened(options.held, family.core, options, progress) if options.held else None
        if held is None:
            data, held = _apart(data, options.seed)
        given: Any = {name: getattr(options, name) for name in PASSED_ON if getattr(options, name) is not None}
        more: dict[str, Any] = {
            "values": names(options.values),
            "by": names(options.by),
            "beside": names(options.beside),
            "progress": progress,
        }
        if options.penalty is not None:
            more["options"] = {"penalty": options.penalty}
        try:
            made = family.debias(
                options.name, data, held, attribute=options.attribute, target=options.target, **given, **more
            )
        except InputError as error:
            raise _as_typed(error) from error
    target = options.output or options.file
    family.save(target)
    points = {point.spec.text: point.name for point in family.points}
    figures = [_row(points[record.spec], record) for record in made.records]
    changed, among = made.differing
    told = {
        "name": options.name,
        "bytes": made.size_bytes,
        "values_changed": changed,
        "values_in_all": among,
        "warnings": list(made.warnings),
        "figures": figures,
    }
    console.result(
        told, f"{changed:,} of {among:,} values of weights differ; {made.size_bytes:,} bytes", records_table(figures)
    )
    quoted = f"concertina measure {shlex.quote(str(target))} --with {shlex.quote(f'-{options.name}')} --data DATA"
    console.remark(f"wrote {target}; next: {quoted}")


def check(options: Options) -> None:
    """Refuse wrong options before anything slow is loaded.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
        StorageError: The output cannot be written.
    """
    from concertina.family.modules import Modules

    if options.output is not None:
        inputs = (options.file, data_path(options.data), data_path(options.held))
        check_output(options.output, replace=options.yes, inputs=inputs)
    Modules().check_new(options.name)
    check_data(options.data)
    if options.held is not None:
        check_data(options.held, "--held")
    if not options.attribute:
        raise InputError("--attribute", asked="an empty text", allowed="a column's name")
    check_tokenizer(options)


def _apart(data: Any, seed: int) -> tuple[Any, Any]:
    """Return four of five samples, and the fifth."""
    import torch

    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.subset(order[len(data) // 5 :]), data.subset(order[: len(data) // 5])


def _row(point: str, record: Record) -> dict[str, Any]:
    """Return a figure as one line of a table."""
    figure = {name: getattr(record, name) for name in ("metric", "value", "low", "high", "n")}
    return {"point": point, "with": record.scope or "nothing", **figure}


def _as_typed(error: InputError) -> InputError:
    """Return an error that speaks of options as they are typed."""
    name = error.where.removeprefix("option ")
    where = as_option(name) if name in OF_LIBRARY else error.where
    return type(error)(where, asked=error.asked, allowed=error.allowed, do=error.do)
