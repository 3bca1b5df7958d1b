"""`concertina specialize`: a family file for some of its classes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concertina.cli.console import Console, Report, records_table
from concertina.cli.data import TextOptions, check_tokenizer, opened
from concertina.cli.facts import of_file
from concertina.cli.family_file import check_buildable, look
from concertina.cli.inputs import check_data, check_output, data_path
from concertina.cli.options import Common, as_option
from concertina.errors import DataError, InputError

if TYPE_CHECKING:
    from concertina.family import Family
    from concertina.load.data import TensorData

EXAMPLE = "concertina specialize digits.concertina --classes 3,5,8 --keep-other -o three.concertina"


ADAPTING = ("held", "epochs", "batch_size", "learning_rate", "seed", "device", "criterion", "scores")
"""Options that say how data is used."""


@dataclass(frozen=True, kw_only=True)
class Options(TextOptions, Common):
    """Options of `concertina specialize`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="Family file.", show_default=False)]
    classes: Annotated[str, typer.Option(metavar="LIST", help="Classes to keep, by name, in their new order.")]
    keep_other: Annotated[
        bool, typer.Option("--keep-other", help="One more output, called other, for all other classes together.")
    ] = False
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Labelled samples to adapt every size to; others' are left out."),
    ] = None
    held: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Samples to choose on; one of five of --data when left out."),
    ] = None
    epochs: Annotated[
        float | None, typer.Option(help="With --data: passes over it; 0 unless said: statistics alone.")
    ] = None
    batch_size: Annotated[int | None, typer.Option(help="Samples in a training step, 2 or more; 64 unless said.")] = (
        None
    )
    learning_rate: Annotated[float | None, typer.Option(help="Largest learning rate; 0.02 unless said.")] = None
    seed: Annotated[int | None, typer.Option(help="Equal seeds give equal results.")] = None
    device: Annotated[str | None, typer.Option(metavar="NAME", help="Where to train: cpu, cuda ...")] = None
    criterion: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What makes a channel important for the classes; relevance unless said."),
    ] = None
    scores: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Scores by class: measured on --data, or stored in FILE (--class-scores)."),
    ] = None
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Family file to write.")]
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace the output when it is there already.")] = False


def run(options: Options) -> None:
    """Cut a family to some of its classes: the same sizes, fewer outputs.

    Without data nothing is trained, and among the classes kept every point answers as before. With --data each size
    gets statistics of those classes (and training, with --epochs), in the general order of channels or in one of the
    classes' own: whichever is right more often on held-out samples.
    """
    classes = check(options)
    settings = _settings(options)
    reach = look(options.file, None)
    call = f"family.for_classes({classes!r}{', data=data' if options.data else ''}).save({str(options.output)!r})"
    check_buildable(options, reach, call)
    import concertina as ct

    console = Console(options)
    with console.progress() as progress:
        progress("reading", 0.0)
        family = ct.open(options.file)
        if options.data is None:
            made = family.for_classes(classes, other=options.keep_other)
        else:
            made = _adapted(family, classes, options, settings, progress)
        made.save(options.output)
    data = of_file(options.output)
    console.result(data, records_table(data["points"]))
    for line in _compared(made):
        console.remark(line)
    console.remark(f"wrote {options.output}; next: concertina measure {shlex.quote(str(options.output))} --data DATA")


def check(options: Options) -> list[str]:
    """Refuse wrong options before anything slow is loaded; return the classes.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
        StorageError: The output cannot be written.
    """
    inputs = (options.file, data_path(options.data), data_path(options.held))
    check_output(options.output, replace=options.yes, inputs=inputs)
    classes = [name.strip() for name in options.classes.split(",") if name.strip()]
    if not classes:
        raise InputError("--classes", asked=repr(options.classes), allowed="names of classes, such as cat,dog")
    if options.data is not None:
        check_data(options.data)
    for name in ADAPTING:
        if getattr(options, name) is not None and options.data is None:
            raise InputError(as_option(name), asked="without --data", allowed="together with it")
    if options.held is not None:
        check_data(options.held, "--held")
    check_tokenizer(options)
    return classes


def _settings(options: Options) -> Any:
    """Return the options of the library, checked."""
    from concertina.family.specialized import check_class_options

    settings: Any = {name: getattr(options, name) for name in ADAPTING[1:] if getattr(options, name) is not None}
    try:
        check_class_options(settings, has_data=True)
    except InputError as error:
        where = error.where
        if where.startswith("option "):
            where = as_option(where.removeprefix("option "))
        raise type(error)(where, asked=error.asked, allowed=error.allowed, do=error.do) from error
    return settings


def _adapted(family: Family, classes: list[str], options: Options, settings: Any, progress: Report) -> Family:
    from concertina.family.subset import kept_classes

    kept_classes(family.core.class_names, classes, other=options.keep_other)
    texts = (options.data or "", options.held)
    data, held = (None if text is None else _opened(text, family, options, progress) for text in texts)
    return family.for_classes(classes, other=options.keep_other, data=data, held=held, progress=progress, **settings)


def _opened(text: str, family: Family, options: Options, progress: Report) -> TensorData:
    """Return data labelled by the family's classes; or, where it holds some of them only, by those."""
    try:
        return opened(text, family.core, options, progress)
    except DataError:
        try:
            found = opened(text, replace(family.core, class_names=()), options, progress)
        except DataError:
            found = None
        if found is None or not found.class_names or not set(found.class_names) < set(family.core.class_names):
            raise
        return found


def _compared(made: Family) -> list[str]:
    """Return in words which order was taken, and why."""
    told = made.evidence.provenance
    if "for the classes" not in told:
        return []
    return [
        f"took the points: {told['for the classes']}",
        f"own order minus the other: {told['own order minus the other']}",
        f"adapted minus as it was: {told['adapted minus as it was']}",
    ]
