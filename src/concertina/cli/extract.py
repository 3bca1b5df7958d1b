"""`concertina extract`: one network out of a family file, loadable without Concertina."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from concertina.cli.console import Console, describe
from concertina.cli.facts import of_point
from concertina.cli.inputs import check_file, check_output
from concertina.cli.options import Common
from concertina.errors import InputError

EXAMPLE = "concertina extract digits.concertina --share 0.5 -o digits-half"
BUDGETS = ("point", "share", "macs", "params", "size_bytes", "latency_ms")


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina extract`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A family file.")]
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write.")]
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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace FOLDER when it is there already.")] = False


def run(options: Options) -> None:
    """Write one network of a family as ordinary files, loadable without Concertina.

    FOLDER gets model.safetensors (usual state_dict keys), slim.json (module path -> sizes, removed blocks)
    and, where torch.export takes the network, model.pt2.
    """
    check_file(options.file)
    wanted = budget(options)
    check_output(options.output, replace=options.yes)
    import concertina as ct
    from concertina.export import extract

    console = Console(options)
    with console.progress() as progress:
        progress("reading", 0.0)
        family = ct.open(options.file)
        point = family.choose(wanted.pop("share", None), **wanted)
        progress(f"extracting {point.name}", 0.5)
        core = family.core
        facts = {
            "source": core.source,
            "arguments": dict(core.arguments),
            "task": core.task,
            "class_names": list(core.class_names),
            "preprocess": asdict(core.preprocess),
            "licence": core.licence,
        }
        written = extract(
            family.view(point.name),
            core.example_inputs,
            options.output,
            space=family.supernet.space,
            point=point,
            facts=facts,
        )
    data = of_point(point) | {"folder": str(written.folder), "files": list(written.files)}
    console.result(data, *describe(data))
    if written.program_refused:
        console.remark(f"no model.pt2: {written.program_refused}")


class WithBudget(Protocol):
    """Options among which the names of `BUDGETS` are."""

    @property
    def batch(self) -> int:
        """Inputs in one call, for a latency."""

    @property
    def threads(self) -> int:
        """Threads of the computation, for a latency."""


def budget(options: WithBudget) -> dict[str, Any]:
    """Return the one budget given, as keywords of `Family.at`.

    Raises:
        InputError: None was given, or more than one.
    """
    given = {name: value for name in BUDGETS if (value := getattr(options, name)) is not None}
    if len(given) != 1:
        allowed = ", ".join(f"--{name.replace('_', '-')}" for name in BUDGETS)
        raise InputError("budget", asked=", ".join(given) or "none", allowed=f"exactly one of {allowed}")
    if "latency_ms" in given:
        given |= {"batch": options.batch, "threads": options.threads}
    return given
