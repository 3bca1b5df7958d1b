"""`concertina adapt`: a module for one domain, trained on the frozen core and put into the family's file."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from concertina.cli.console import Console, Report, records_table
from concertina.cli.data import TextOptions, check_tokenizer, opened
from concertina.cli.family_file import check_buildable, look
from concertina.cli.inputs import check_data, check_output, data_path, names
from concertina.cli.options import Common, as_option
from concertina.errors import DataError, InputError

if TYPE_CHECKING:
    from concertina.family import Family
    from concertina.load.data import TensorData

EXAMPLE = "concertina adapt digits.concertina --name scans --data zoo:digits@train --kind lora --option rank=4"


@dataclass(frozen=True, kw_only=True)
class Options(TextOptions, Common):
    """Options of `concertina adapt`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="Family file.", show_default=False)]
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call the module.")]
    data: Annotated[
        str, typer.Option(metavar="DATA", help="Labelled training data of the domain; it may have classes of its own.")
    ]
    held: Annotated[
        str | None, typer.Option(metavar="DATA", help="Held-out data of the domain, to measure every point on.")
    ] = None
    task: Annotated[
        Literal["classification", "tagging"] | None,
        typer.Option(
            help="What the domain's data is for, where that is something else than the family: an encoder learns "
            "classes of texts, or of tokens.",
            show_default=False,
        ),
    ] = None
    kind: Annotated[
        str,
        typer.Option(metavar="NAME", help="Kind of module: lora, affine, sparse, adapter, head ..."),
    ] = "lora"
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of the kind, such as rank=4; may be given several times."),
    ] = None
    layers: Annotated[
        str,
        typer.Option(metavar="LIST", help="Layers it is put on, by parts of their paths; all that suit if left out."),
    ] = ""
    half: Annotated[bool, typer.Option("--half", help="Keep its values in 16 bits each: half the bytes.")] = False
    epochs: Annotated[float | None, typer.Option(help="Passes over the data; 3 unless said.")] = None
    batch_size: Annotated[int | None, typer.Option(help="Samples in a training step, 2 or more; 64 unless said.")] = (
        None
    )
    learning_rate: Annotated[float | None, typer.Option(help="Largest learning rate; 0.005 unless said.")] = None
    seed: Annotated[int | None, typer.Option(help="Equal seeds give equal results.")] = None
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Family file to write; FILE itself unless said."),
    ] = None
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Replace a module of that name, and the output, when they are there already."),
    ] = False


def run(options: Options) -> None:
    """Train a small module on a domain's data, for every size of a family at once, and put it into the file.

    The core stays bit for bit as it is. 'concertina measure FILE --with NAME --data D' measures it, and in Python
    family.with_modules(point, NAME) plugs it in.
    """
    given = check(options)
    call = f"family.adapt({options.name!r}, data, kind={options.kind!r}); family.save({str(options.file)!r})"
    check_buildable(options, look(options.file, None), call)
    import concertina as ct

    console = Console(options)
    with console.progress() as progress:
        progress("reading", 0.0)
        family = ct.open(options.file)
        if options.yes and options.name in family.modules:
            family.modules.delete(options.name)
        family.modules.check_new(options.name)
        data, held = _domain(options.data, family, options, progress), None
        if options.held is not None:
            held = _domain(options.held, family, options, progress, data.class_names)
        found = family.adapt(options.name, data, held, progress=progress, **given)
    target = options.output or options.file
    family.save(target)
    module = family.modules[options.name]
    told = {
        "module": options.name,
        "kinds": [plug.kind for plug in module.plugs],
        "classes": list(module.class_names),
        "size bytes": module.size_bytes,
        "records": [asdict(record) for record in found],
    }
    called = {point.spec.text: point.name for point in family.points}
    rows = [{"point": called[r.spec], r.metric: r.value, "low": r.low, "high": r.high} for r in found]
    console.result(told, records_table(rows) if rows else f"{module!r}")
    share = module.size_bytes / max(point.size_bytes for point in family.points)
    console.remark(f"{options.name}: {module.size_bytes:,} bytes, {share:.1%} of the full network's")
    quoted = f"concertina measure {shlex.quote(str(target))} --with {shlex.quote(options.name)} --data DATA"
    console.remark(f"wrote {target}; next: {quoted}")


def check(options: Options) -> dict[str, Any]:
    """Refuse wrong options before anything slow is loaded; return those of the library.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
        StorageError: The output cannot be written.
    """
    from concertina.family.modules import Modules

    check_data(options.data)
    if options.held is not None:
        check_data(options.held, "--held")
    check_tokenizer(options)
    if options.output is not None:
        inputs = (options.file, data_path(options.data), data_path(options.held))
        check_output(options.output, replace=options.yes, inputs=inputs)
    given: dict[str, Any] = {"kind": options.kind, "layers": names(options.layers), "half": options.half}
    given["options"] = dict(_valued(text) for text in options.option or ())
    for name in ("epochs", "batch_size", "learning_rate", "seed"):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    _check_given(given)
    Modules().check_new(options.name)
    return given


def _valued(text: str) -> tuple[str, Any]:
    """Return name and value of an option of the kind: a number, or true or false."""
    name, _, value = (part.strip() for part in text.partition("="))
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    try:
        number = float(value)
    except ValueError:
        name, number = "", 0.0
    if not name:
        raise InputError("--option", asked=repr(text), allowed="NAME=NUMBER, or NAME=true, such as rank=4")
    return name, int(number) if number.is_integer() else number


def _check_given(given: dict[str, Any]) -> None:
    """Let the library refuse what it would refuse later, with options called as they are typed."""
    from concertina.family.adapting import check_adapt_options

    try:
        check_adapt_options(given)
    except InputError as error:
        noun, _, name = error.where.partition(" ")
        where = as_option(name) if noun == "option" and " " not in name else error.where
        raise type(error)(where, asked=error.asked, allowed=error.allowed, do=error.do) from error


def _domain(text: str, family: Family, options: Options, progress: Report, names: tuple[str, ...] = ()) -> TensorData:
    """Return data labelled by the family's classes; or, where it has others, by its own."""
    core = replace(family.core, task=options.task or family.core.task)
    try:
        return opened(text, replace(core, class_names=names or core.class_names), options, progress)
    except DataError:
        if names:
            raise
        try:
            return opened(text, replace(core, class_names=(), all_classes=()), options, progress)
        except DataError:
            pass
        raise
