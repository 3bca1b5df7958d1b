"""`concertina bench serve`: a family under load, the policy beside single sizes behind the same queue."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from concertina.cli.console import Console
from concertina.cli.family_file import check_buildable, look
from concertina.cli.inputs import check_data, check_folder
from concertina.cli.options import Common
from concertina.errors import InputError

EXAMPLE = "concertina bench serve digits.concertina --data zoo:digits@test --quick"


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina bench serve`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A family file of a classifier.")]
    data: Annotated[str, typer.Option(metavar="DATA", help="Held-out data; its labels say which answers are right.")]
    budget_ms: Annotated[
        float, typer.Option(metavar="MS", help="Time that every request gives for its answer, from when it is due.")
    ] = 50.0
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How often everything is measured, in turns.")] = 3
    seconds: Annotated[float, typer.Option(metavar="S", help="How long requests arrive in each try.")] = 5.0
    runtime: Annotated[str, typer.Option(metavar="NAME", help="What computes: eager (torch), onnx or openvino.")] = (
        "eager"
    )
    quick: Annotated[bool, typer.Option("--quick", help="One round of 2 s; says whether it works, not how well.")] = (
        False
    )
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the run file goes.")] = Path()


def run(options: Options) -> None:
    """Put a family behind a real server, overload it, and count the right answers in time; write one JSON file.

    A client in a process of its own sends single inputs over loopback at random times (Poisson), each when it is due,
    whoever still waits; times count from then on. The load is raised until the full network alone misses the budget
    for over half of its requests. At that load, and at a step up to it, the policy's choice, the full network alone
    and each smaller point alone are measured in turns, under the same arrivals, behind the same queue; the full
    network a second time is the control. Then the server's own cost on a tiny network, and the memory that 10,000
    switches keep. With two cores or more, server and client get one each. It wants a quiet machine.
    """
    check(options)
    from concertina.bench.run import TITLES
    from concertina.bench.serving import FULL, QUICK, reached, run_serving, told
    from concertina.measure.runs import write_run

    effort = QUICK if options.quick else replace(FULL, rounds=options.rounds, seconds=options.seconds)
    console = Console(options)
    with console.progress("preparing") as progress:
        found = run_serving(
            options.file,
            options.data,
            replace(effort, budget_ms=options.budget_ms),
            options=("--runtime", options.runtime),
            progress=progress,
            command=_command(options),
        )
    path = write_run(options.output, found)
    text, verdicts = told(found), [dict(zip(TITLES, row, strict=True)) for row in reached(found)]
    console.result({"run": str(path), "verdicts": verdicts, "markdown": text}, text)
    console.remark(f"wrote {path}")


def check(options: Options) -> None:
    """Refuse wrong options before anything slow is done.

    Raises:
        InputError: An option is wrong; the text says which and what is allowed.
        FormatError: The file is not sound, or not whole.
    """
    for name, value, most in (("--budget-ms", options.budget_ms, 1e6), ("--seconds", options.seconds, 600.0)):
        if not 0 < value <= most:
            raise InputError(name, asked=f"{value:g}", allowed=f"a number above 0, up to {most:g}")
    check_folder(options.output, replace=True)
    check_data(options.data)
    check_buildable(options, look(options.file, None), "concertina.serve.Session(family)")
    from concertina.family.runtimes import check_runtime

    check_runtime(options.runtime)


def _command(options: Options) -> str:
    """Return what to type to measure this again, without the folders of this machine."""
    words = ["concertina", "bench", "serve", options.file.name, "--data", Path(options.data).name]
    given = {"--budget-ms": f"{options.budget_ms:g}", "--runtime": options.runtime}
    if not options.quick:
        given |= {"--rounds": str(options.rounds), "--seconds": f"{options.seconds:g}"}
    return shlex.join([*words, *(word for pair in given.items() for word in pair), *["--quick"][: options.quick]])
