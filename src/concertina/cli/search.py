"""`concertina search`: new points for a family file, found all over its space."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concertina.cli.budgets import check_calls, worded_as_options
from concertina.cli.console import Console, table
from concertina.cli.data import TextOptions, check_tokenizer, opened
from concertina.cli.facts import of_point
from concertina.cli.family_file import Reach, check_buildable, look
from concertina.cli.inputs import check_data, check_output, data_path
from concertina.cli.options import Common
from concertina.cli.outcome import resumable
from concertina.errors import StorageError

if TYPE_CHECKING:
    from concertina.family import Family
    from concertina.search import SearchOptions, SearchResult

EXAMPLE = (
    "concertina search digits.concertina --data zoo:digits@validation --calibrate zoo:digits@train "
    "--min-accuracy 0.9 -o found.concertina"
)


@dataclass(frozen=True, kw_only=True)
class Options(TextOptions, Common):
    """Options of `concertina search`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A family file.")]
    data: Annotated[str, typer.Option(metavar="DATA", help="Held-out data that subnets are measured on.")]
    calibrate: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Training data for their statistics; half of --data when left out."),
    ] = None
    validation: Annotated[
        str | None, typer.Option(metavar="DATA", help="Fresh data to measure what was found on, without flattery.")
    ] = None
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Family file to write.")]
    latency_ms: Annotated[
        float | None, typer.Option(help="Largest latency on this machine; what is saved is latency then, not MACs.")
    ] = None
    batch: Annotated[int, typer.Option(min=1, help="Inputs in one call, for --latency-ms.")] = 1
    threads: Annotated[int, typer.Option(min=1, help="Threads of the computation, for --latency-ms.")] = 1
    macs: Annotated[float | None, typer.Option(help="Largest multiply-accumulates for one input.")] = None
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            help="Least accuracy, or worst value of what the network is judged by: of a perplexity the largest."
        ),
    ] = None
    trials: Annotated[int, typer.Option(min=1, help="Subnets that are calibrated and measured.")] = 120
    points: Annotated[int, typer.Option(min=1, help="Most subnets that become points of the family.")] = 3
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal results.")] = 0
    strategy: Annotated[str, typer.Option(metavar="NAME", help="What proposes subnets: guided, nsga2 or random.")] = (
        "guided"
    )
    samples: Annotated[int, typer.Option(min=2, help="Most held-out samples a subnet is measured on.")] = 2048
    calibration_samples: Annotated[int, typer.Option(min=2, help="Most samples its statistics come from.")] = 1024
    executor: Annotated[
        str, typer.Option(metavar="NAME", help="Where subnets are measured: serial, processes or ray.")
    ] = "serial"
    workers: Annotated[int, typer.Option(min=0, help="How many at once; 0 for one a core.")] = 0
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted search of the same command stopped.")
    ] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace OUT when it is there already.")] = False

    @property
    def journal(self) -> Path:
        """File that keeps every measurement while the search goes on."""
        return Path(f"{self.output}.search")


def run(options: Options) -> None:
    """Search all subnets of a family for better ones than its points, and add the best to it as points.

    Every subnet tried is calibrated and measured for real; a predictor chooses which. Those within the bounds that
    the points there are do not beat are kept. Ctrl-C is safe: run the same command with --resume to go on.
    """
    check(options)
    import concertina as ct

    console = Console(options)
    family = ct.open(options.file)
    with console.progress() as progress, resumable(lambda: _how_to_resume(options)):
        data, calibrate, validation = (
            opened(text, family.core, options) if text is not None else None for text in _texts(options)
        )
        with worded_as_options():
            found = ct.search(
                family, data, calibrate=calibrate, validation=validation, progress=progress, **_settings(options)
            )
        family.save(options.output)
    options.journal.unlink(missing_ok=True)
    rows = [_row(point, family) for point in found.points]
    facts = {"file": str(options.output), "trials": len(found.trials), "points": rows, "front": _front(found)}
    if not rows:
        console.result(facts, f"No subnet of {len(found.trials)} tried is within the bounds and beats the points.")
        return
    titles = list(dict.fromkeys(title for row in rows for title in row))
    console.result(facts, table(titles, [[row.get(title) for title in titles] for row in rows]))
    if options.validation is None:
        console.remark("these figures are those the points were chosen by, which flatter them: see --validation")
    console.remark(f"wrote {options.output}; next: concertina inspect {shlex.quote(str(options.output))}")


def check(options: Options) -> Reach:
    """Refuse wrong options before anything slow is loaded; return what the header of the file says.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
        StorageError: The output or the journal of an earlier search is in the way.
        FormatError: The file is not sound, or not whole.
    """
    reach = look(options.file, None)
    names = ("--data", "--calibrate", "--validation")
    for name, text in zip(names, _texts(options), strict=True):
        if text is not None:
            check_data(text, name)
    inputs = (options.file, *map(data_path, _texts(options)))
    check_output(options.output, replace=options.yes, inputs=inputs)
    check_output(options.journal, replace=True, inputs=inputs)
    if options.journal.exists() and not (options.yes or options.resume):
        do = "Give --resume to go on with it, or --yes to begin anew."
        raise StorageError(f"'{options.journal}' holds an unfinished search", do=do)
    check_tokenizer(options)
    if options.latency_ms is not None:
        check_calls(options.batch, options.threads, reach)
    check_buildable(options, reach, "ct.search(family, data)")
    from concertina.search.options import search_settings

    with worded_as_options():
        search_settings(_settings(options))
    return reach


def _texts(options: Options) -> tuple[str | None, ...]:
    return options.data, options.calibrate, options.validation


def _settings(options: Options) -> SearchOptions:
    latency: SearchOptions = {}
    if options.latency_ms is not None:
        latency = {"latency_ms": options.latency_ms, "batch": options.batch, "threads": options.threads}
    return {
        **latency,
        "macs": options.macs,
        "min_accuracy": options.min_accuracy,
        "trials": options.trials,
        "points": options.points,
        "seed": options.seed,
        "strategy": options.strategy,
        "samples": options.samples,
        "calibration_samples": options.calibration_samples,
        "executor": options.executor,
        "workers": options.workers,
        "journal": options.journal,
        "resume": options.resume,
    }


def _row(point: Any, family: Family) -> dict[str, Any]:
    """Return a point with its figures, latencies among them where they were measured."""
    mine = {record.metric: record.value for record in family.records if record.spec == point.spec.text}
    timed = {name: mine[name] for name in ("latency_ms_median", "latency_ms_predicted") if name in mine}
    return of_point(point) | timed


def _front(found: SearchResult) -> list[dict[str, Any]]:
    goal = found.goal
    return [{"spec": one.spec.text, goal.cost_name: one.cost, goal.metric.name: one.value} for one in found.front]


def _how_to_resume(options: Options) -> str:
    if not options.journal.exists():
        return ""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    return f"'{options.journal}' keeps what was measured; to go on: {shlex.join(['concertina', *words, '--resume'])}"
