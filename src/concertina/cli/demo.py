"""`concertina demo`: the whole way once, on real digits."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concertina.cli.console import Console, table
from concertina.cli.inputs import check_output
from concertina.cli.options import Common

if TYPE_CHECKING:
    from concertina.family import Family

EXAMPLE = "concertina demo"
NETWORK = "zoo:digits-cnn"
POINTS = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
EPOCHS = 24
BATCH_SIZE = 64
LEARNING_RATE = 0.08
COMPUTED = ("name", "macs", "share", "params", "size_bytes")
MEASURED = ("accuracy", "worst_class_recall", "latency_ms_median", "latency_ms_p95")


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina demo`."""

    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the two files go.")] = Path()


def run(options: Options) -> None:
    """Turn the packaged digits network into a family, measure it and write digits.concertina and report.html."""
    artifact, page = options.output / "digits.concertina", options.output / "report.html"
    check_output(artifact, replace=True)
    console = Console(options)
    with console.progress("demo") as progress:
        family, written = _make(artifact, progress)
    from concertina.report import report_data, write_report

    write_report(report_data(family, "Digits, from one network"), page)
    points = _figures(family)
    data = {"family": str(artifact), "report": str(page), "bytes": written.file_bytes, "points": points}
    console.result(data, *_tables(points), *_closing(options.output, artifact, page, written))


def _make(artifact: Path, progress: Any) -> tuple[Family, Any]:
    import concertina as ct
    from concertina.family.rivals import measure_rivals

    core = ct.load(NETWORK)
    train, held_out = (ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess) for part in ("train", "test"))
    family = ct.fit(
        core,
        train,
        held_out,
        points=POINTS,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        progress=progress,
    )
    measure_rivals(family, core, held_out, progress=progress)
    progress("measuring latency", 0.0)
    family.measure_latency(batch=1, threads=1, time_limit_s=15.0)
    return family, family.save(artifact)


def _figures(family: Family) -> list[dict[str, Any]]:
    """Return one row of measured figures a point, read from its Records."""
    from concertina.family.rivals import NAIVE, TORCH_PRUNING

    rows = []
    for point in family.points:
        mine = [record for record in family.records if record.spec == point.spec.text]
        plain = {record.metric: record.value for record in mine if not record.scope or "threads=" in record.scope}
        rivals = {record.scope: record.value for record in mine if record.metric == "accuracy" and record.scope}
        rows.append(
            {
                **{key: getattr(point, key) for key in COMPUTED},
                **{key: plain.get(key) for key in MEASURED},
                "latency_resolved": not any(record.scope.endswith("unresolved") for record in mine),
                "naive": rivals.get(NAIVE),
                "torch_pruning": rivals.get(TORCH_PRUNING),
            }
        )
    return rows


def _tables(points: list[dict[str, Any]]) -> list[Any]:
    costs = table(
        ("point", "MACs", "share", "parameters", "bytes", "accuracy", "worst class", "ms median", "ms p95"),
        [
            (
                *(p[key] if key != "share" else f"{p['share']:.1%}" for key in COMPUTED),
                _percent(p["accuracy"]),
                _percent(p["worst_class_recall"]),
                p["latency_ms_median"],
                p["latency_ms_p95"],
            )
            for p in points
        ],
    )
    rivals = table(
        ("MACs", "this family", "core sliced naively", "Torch-Pruning, untuned"),
        [(f"{p['share']:.1%}", *(_percent(p[key]) for key in ("accuracy", "naive", "torch_pruning"))) for p in points],
    )
    resolved = all(p["latency_resolved"] for p in points)
    note = [] if resolved else ["The machine was too busy to tell latencies apart: take the last two columns as rough."]
    heading = "One network, every size, on held-out digits (1 thread, batch 1):"
    return [heading, costs, *note, "", "Accuracy at the same MACs:", rivals, ""]


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _closing(folder: Path, artifact: Path, page: Path, written: Any) -> list[str]:
    program, python = _from_here("concertina"), _from_here(Path(sys.executable).name)
    return [
        f"{artifact}: {written.file_bytes:,} bytes, all sizes in one file; {page}: open it in a browser.",
        "",
        "Try next:",
        f"  {program} inspect {artifact}",
        f"  {program} extract {artifact} --share 0.5 -o {folder / 'digits-half'}",
        f"  {program} measure {artifact} --data zoo:digits@validation --latency",
        f"  {python} -c \"import concertina as ct; print(ct.open('{artifact}').at(0.1))\"",
    ]


def _from_here(name: str) -> str:
    """Return how to call a program of this environment from the current folder."""
    found, own = shutil.which(name), Path(sys.executable).parent / name
    if found is not None and Path(found) == own:
        return name
    return str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else str(own)
