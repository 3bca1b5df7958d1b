"""`concertina fit`: from one network and data to a family file."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from concertina.cli.console import Console, records_table, table
from concertina.cli.data import TextOptions, check_tokenizer, opened, with_own_tokenizer
from concertina.cli.facts import of_file
from concertina.cli.inputs import (
    assigned,
    check_data,
    check_file,
    check_output,
    check_space,
    check_weights,
    data_path,
    fractions,
    sizes,
)
from concertina.cli.launch import is_first, launcher, num_processes
from concertina.cli.layout import Sheet
from concertina.cli.options import Common, as_option
from concertina.cli.outcome import resumable
from concertina.errors import InputError, StorageError

if TYPE_CHECKING:
    from concertina.family.options import FitOptions

EXAMPLE = (
    "concertina fit zoo:digits-cnn --data zoo:digits@train --validation zoo:digits@validation -o digits.concertina"
)

SHAPING = ("criterion", "order", "rehearsals", "worth", "ignore", "outputs")
"""Options that shape a family, beside its points."""


@dataclass(frozen=True, kw_only=True)
class Options(TextOptions, Common):
    """Options of `concertina fit`."""

    source: Annotated[
        str, typer.Argument(metavar="[SOURCE]", help="The network: zoo:NAME, hf:FOLDER, timm:NAME.", show_default=False)
    ] = ""
    arch: Annotated[str, typer.Option(metavar="NAME", help="The network, as an option instead of SOURCE.")] = ""
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Its weights (safetensors); its own when left out.")
    ] = None
    data: Annotated[
        str,
        typer.Option(metavar="DATA", help="Training data: FILE.npz, .parquet, .csv, .txt, a folder, zoo:NAME (@PART)"),
    ]
    validation: Annotated[
        str | None, typer.Option(metavar="DATA", help="Held-out data to measure on; without it only costs are known.")
    ] = None
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Family file to write.")]
    start: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A family of this network to train further; its sizes stay as they are."),
    ] = None
    points: Annotated[str, typer.Option(metavar="LIST", help="Operating points as shares of the network's MACs.")] = (
        "0.1,0.25,0.5,0.75,1.0"
    )
    recipe: Annotated[str, typer.Option(metavar="NAME", help="How the family is trained.")] = "sandwich"
    criterion: Annotated[str, typer.Option(metavar="NAME", help="What makes a channel important.")] = "taylor"
    order: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Growth order: rehearsed, or criterion (default for very short runs)."),
    ] = None
    class_scores: Annotated[
        bool,
        typer.Option("--class-scores", help="Also rate every channel for every class, and keep that in the file."),
    ] = False
    ignore: Annotated[
        str, typer.Option(metavar="LIST", help="Modules and groups to keep whole, by name.", show_default=False)
    ] = ""
    outputs: Annotated[
        str,
        typer.Option(metavar="LIST", help="Sizes to which embeddings may be cut, such as 64,128.", show_default=False),
    ] = ""
    factorize: Annotated[
        str,
        typer.Option(
            metavar="WAY",
            help="Write layers as two first, so that their ranks are elastic; convolutions by WAY: spatial or channel.",
            show_default=False,
        ),
    ] = ""
    tables: Annotated[
        float, typer.Option(help="With --factorize: share of their values to which embedding tables fall; 0: left.")
    ] = 0.0
    protect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=RATE",
            help="A class that matters more, and the share of it that may be missed on new data at every point.",
            show_default=False,
        ),
    ] = None
    class_weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=NUMBER",
            help="What samples of a class count in training, others 1; or balanced: all classes alike.",
            show_default=False,
        ),
    ] = None
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Let criteria and statistics see all classes equally often.")
    ] = False
    rehearsals: Annotated[
        int, typer.Option(help="How often the growth order is rehearsed: again each time half of the rest is gone.")
    ] = 1
    worth: Annotated[
        str, typer.Option(metavar="NAME", help="What growth steps are priced by: macs, or latency on this machine.")
    ] = "macs"
    epochs: Annotated[float, typer.Option(help="Passes over the training data; 0 only calibrates.")] = 4.0
    batch_size: Annotated[int, typer.Option(help="Samples in a training step, 2 or more.")] = 128
    learning_rate: Annotated[float, typer.Option(help="Largest learning rate of the schedule, above 0.")] = 0.02
    random_specs: Annotated[
        int, typer.Option(help="Random subnets of the whole space in each step, for families to be searched.")
    ] = 0
    optimizer: Annotated[str, typer.Option(metavar="NAME", help="sgd, or adamw (transformers).")] = "sgd"
    seed: Annotated[int, typer.Option(help="Equal seeds give equal results.")] = 0
    device: Annotated[str, typer.Option(metavar="NAME", help="Where to train: cpu, cuda, cuda:1 ...")] = "cpu"
    dtype: Annotated[str, typer.Option(metavar="NAME", help="Number type to train in: float32, bfloat16 or auto.")] = (
        "float32"
    )
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run of the same command stopped.")
    ] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace FILE when it is there already.")] = False

    @property
    def network(self) -> str:
        """The network's name, from either place."""
        return self.source or self.arch

    @property
    def checkpoint(self) -> Path:
        """File that holds the run's state while it goes on."""
        return Path(f"{self.output}.fit")


def run(options: Options) -> None:
    """Turn a pre-trained network and data into a family of networks in one file.

    Sorts and verifies channels and blocks, trains all operating points together, measures each on the
    validation data and writes the file. Ctrl-C is safe: run the same command with --resume to go on.
    Several processes: torchrun --nproc-per-node 2 -m concertina fit ...
    """
    if num_processes() == 1:
        return _run(options)
    from concertina.train import joined

    with joined():
        return _run(options)


def _run(options: Options) -> None:
    """Fit, in each of the processes that do so together; the first writes the file and speaks."""
    shares = check(options)
    from concertina.family import factorize, fit
    from concertina.load import load

    console = Console(options)
    with console.progress() as progress, resumable(lambda: _how_to_resume(options)):
        core = load(options.network, weights=options.weights)
        options = with_own_tokenizer(options, options.network, core)
        check_space(options.output, 2 * sum(tensor.nbytes for tensor in core.module.state_dict().values()))
        train, *held = (
            opened(text, core, options, progress) for text in (options.data, options.validation) if text is not None
        )
        if any(data.fingerprint == train.fingerprint for data in held):
            console.remark("the validation data is the training data: figures will say nothing of data not seen before")
        if options.factorize:
            progress("factorising", 0.0)
            core = factorize(core, train, conv=options.factorize, tables=options.tables, seed=options.seed)
        family = fit(
            core,
            train,
            *held,
            **({"points": shares} if options.start is None else {}),
            progress=progress,
            **_settings(options),
        )
        if not is_first():
            return
        family.save(options.output)
    options.checkpoint.unlink(missing_ok=True)
    core_figures = dict(family.points.core)
    data = of_file(options.output) | {"core figures": core_figures, "warnings": list(family.warnings)}
    rows = [*data["points"], *([{"point": "core", **core_figures}] if core_figures else [])]
    shown: list[Sheet | str] = [records_table(rows)]
    if family.promises:
        from concertina.report.audited import promise_notes, promise_table

        data["promises"] = [asdict(one) for one in family.promises]
        shown += ["", table(*promise_table(family.promises)), *promise_notes(family.promises)]
    console.result(data, *shown)
    console.remark(f"wrote {options.output}; next: concertina report {shlex.quote(str(options.output))}")


def check(options: Options) -> tuple[float, ...]:
    """Refuse wrong options before anything slow is loaded; return the points as shares.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
        StorageError: The output cannot be written, or holds what may not be replaced.
    """
    if bool(options.source) == bool(options.arch):
        asked = f"{options.source} and {options.arch}" if options.source else "none"
        raise InputError("network", asked=asked, allowed="one", do="Give SOURCE or --arch, such as zoo:digits-cnn.")
    shares = fractions(options.points)
    check_data(options.data)
    if options.validation is not None:
        check_data(options.validation, "--validation")
    check_weights(options.weights)
    if options.start is not None:
        check_file(options.start)
    check_tokenizer(options)
    if is_first():
        _check_outputs(options)
    _check_names(options)
    return shares


def _check_outputs(options: Options) -> None:
    """Refuse an output or a checkpoint that is in the way; `--resume` is no leave to replace an output."""
    weights = Path(options.weights) if options.weights and options.weights != "random" else None
    inputs = (data_path(options.data), data_path(options.validation), weights, options.start)
    check_output(options.output, replace=options.yes, inputs=inputs)
    check_output(options.checkpoint, replace=True, inputs=inputs)
    if options.checkpoint.exists() and not (options.yes or options.resume):
        do = "Give --resume to go on with it, or --yes to begin anew."
        raise StorageError(f"'{options.checkpoint}' holds an unfinished run", do=do)


def _check_names(options: Options) -> None:
    from concertina.family.options import check_classes, check_order, check_rehearsals, check_worth, train_settings
    from concertina.load import ZOO
    from concertina.score import CRITERIA, check_by_class
    from concertina.train import RECIPES

    _check_start(options)
    _check_factors(options)
    _check_protection(options)
    CRITERIA.entry(options.criterion)
    if options.class_scores and options.start is None:
        check_by_class(options.criterion)
    RECIPES.entry(options.recipe)
    if options.network.startswith("zoo:"):
        ZOO.entry(options.network.removeprefix("zoo:").partition("@")[0])
    try:
        check_order(options.order)
        check_worth(options.worth)
        check_rehearsals(_settings(options))
        check_classes(_settings(options))
        train_settings(_settings(options))
    except InputError as error:
        option = as_option(error.where.removeprefix("option "))
        raise InputError(option, asked=error.asked, allowed=error.allowed, do=error.do) from error


def _check_start(options: Options) -> None:
    """Refuse what shapes a family beside a family that is there."""
    if options.start is None:
        return
    for name in ("points", *SHAPING):
        if getattr(options, name) != getattr(Options, name):
            asked, do = "with --start", "A family that is there already has its shape."
            raise InputError(as_option(name), asked=asked, allowed="one of both", do=do)


def _check_protection(options: Options) -> None:
    """Refuse rates without data to prove them on; which classes there are is known only with the network."""
    if options.protect and options.validation is None:
        do = "Give labelled data that training does not see."
        raise InputError("--protect", asked="without --validation", allowed="together with it", do=do)


def _class_weights(options: Options) -> dict[str, float] | Literal["balanced"]:
    if options.class_weights == ["balanced"]:
        return "balanced"
    return assigned(options.class_weights, "--class-weights")


def _check_factors(options: Options) -> None:
    """Refuse ways to factorise that there are not."""
    from concertina.analyse.factorize import CONV

    if options.factorize and options.factorize not in CONV:
        raise InputError("--factorize", asked=repr(options.factorize), allowed=", ".join(CONV))
    if not 0 <= options.tables < 1:
        raise InputError("--tables", asked=f"{options.tables:g}", allowed="0 to below 1")
    if options.tables and not options.factorize:
        raise InputError("--tables", asked="no --factorize", allowed="together with it")


def _shape(options: Options) -> FitOptions:
    """Return what shapes a family, where none is there to start from."""
    if options.start is not None:
        return {"start": options.start}
    return {
        "criterion": options.criterion,
        "order": options.order,
        "ignore": [name.strip() for name in options.ignore.split(",") if name.strip()],
        "outputs": sizes(options.outputs),
        "worth": options.worth,
        "rehearsals": options.rehearsals,
    }


def _settings(options: Options) -> FitOptions:
    return {
        **_shape(options),
        "class_scores": options.class_scores,
        "recipe": options.recipe,
        "protect": assigned(options.protect, "--protect"),
        "class_weights": _class_weights(options),
        "balanced": options.balanced,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "optimizer": options.optimizer,
        "random_specs": options.random_specs,
        "seed": options.seed,
        "device": options.device,
        "dtype": options.dtype,
        "checkpoint": options.checkpoint,
        "resume": options.resume,
    }


def _how_to_resume(options: Options) -> str:
    if not options.checkpoint.exists():
        return ""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    program = [*launcher(), "concertina", *words, "--resume"]
    return f"'{options.checkpoint}' keeps what was done; to go on: {shlex.join(program)}"
