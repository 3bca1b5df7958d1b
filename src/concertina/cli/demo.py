"""`concertina demo`: the whole way once, on real digits."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concertina.cli.console import Console, Report, table
from concertina.cli.inputs import check_output
from concertina.cli.options import Common
from concertina.errors import ConcertinaError, StorageError

if TYPE_CHECKING:
    from concertina.family import Family

EXAMPLE = "concertina demo"
NETWORK = "zoo:digits-cnn"
POINTS = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
EPOCHS = 24
BATCH_SIZE = 64
LEARNING_RATE = 0.08
LATENCY_LIMIT_S = 15.0
TRAIN, HELD_OUT = "zoo:digits@train", "zoo:digits@test"
MADE_BY = {"made by": "concertina demo"}
"""What stands in the provenance of the demo's file, and so in its report: such files may be made anew unasked."""
COMPUTED = ("name", "macs", "share", "params", "size_bytes")
MEASURED = ("accuracy", "worst_class_recall", "latency_ms_median", "latency_ms_p95")


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Options of `concertina demo`."""

    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the two files go.")] = Path()
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Replace the two files even if an earlier demo did not write them.")
    ] = False


def run(options: Options) -> None:
    """Turn the packaged digits network into a family, measure it and write digits.concertina and report.html.

    Beside the family stand three rivals of the same sizes: the network cut off as it is, cut by Torch-Pruning, and
    the latter trained for each size by itself.
    """
    artifact, page = options.output / "digits.concertina", options.output / "report.html"
    for path, is_own in ((artifact, _is_own_file), (page, _is_own_page)):
        check_output(path, replace=True)
        if path.exists() and not options.yes and not is_own(path):
            raise StorageError(
                f"'{path}' is there already and no demo wrote it",
                do="Give --yes to replace it, or another folder (-o).",
            )
    console = Console(options)
    with console.progress("demo") as progress:
        family, written = _make(artifact, progress)
    from concertina.report import report_data, write_report

    write_report(report_data(family, "Digits, from one network"), page)
    points = _figures(family)
    spent = _spent(family)
    data = {"family": str(artifact), "report": str(page), "bytes": written.file_bytes, "training_macs": spent}
    console.result(
        data | {"points": points}, *_tables(points, spent), *_closing(options.output, artifact, page, written)
    )


def _is_own_file(path: Path) -> bool:
    """Return whether a demo made a family file."""
    from concertina.save import open_artifact

    try:
        with open_artifact(path) as artifact:
            return MADE_BY.items() <= artifact.manifest.provenance.items()
    except ConcertinaError:
        return False


def _is_own_page(path: Path) -> bool:
    """Return whether a demo made a report: it shows the provenance of the demo's file."""
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return False
    return "Concertina report" in page and all(text in page for text in MADE_BY.values())


def _make(artifact: Path, progress: Report) -> tuple[Family, Any]:
    import concertina as ct
    from concertina.family.alone import Training
    from concertina.family.rivals import measure_rivals

    core = ct.load(NETWORK)
    train, held_out = (ct.open_data(text, preprocess=core.preprocess) for text in (TRAIN, HELD_OUT))
    settings = ct.TrainSettings(epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE, full_from_core=1.0)
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
    family.evidence = replace(family.evidence, provenance={**MADE_BY, **family.evidence.provenance})
    tuning = Training(train, family.task, settings)
    measure_rivals(family, core, held_out, tuning=tuning, progress=progress)
    progress("measuring latency", 0.0)
    family.measure_latency(batch=1, threads=1, time_limit_s=LATENCY_LIMIT_S)
    return family, family.save(artifact)


def _figures(family: Family) -> list[dict[str, Any]]:
    """Return one row of measured figures a point, read from its Records."""
    from concertina.family.rivals import NAIVE, TUNED, UNTUNED

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
                "torch_pruning": rivals.get(UNTUNED),
                "torch_pruning_tuned": rivals.get(TUNED),
            }
        )
    return rows


def _spent(family: Family) -> dict[str, Any]:
    """Return what training cost in MACs: the whole family once, and each tuned rival network by itself."""
    from concertina.family.rivals import TRAINING_MACS

    facts = family.evidence.provenance
    alone = [int(record.value) for record in family.records if record.metric == TRAINING_MACS]
    whole = int(facts["training MACs"]) + int(facts.get("rehearsal MACs", 0))
    return {"family": whole, "torch_pruning_tuned": sum(alone), "tuned_networks": len(alone)}


def _tables(points: list[dict[str, Any]], spent: dict[str, Any]) -> list[Any]:
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
    resolved = all(p["latency_resolved"] for p in points)
    note = [] if resolved else ["The machine was too busy to tell latencies apart: take the last two columns as rough."]
    heading = "One network, every size, on held-out digits (1 thread, batch 1):"
    return [heading, costs, *note, "", *_rivals(points, spent), ""]


def _rivals(points: list[dict[str, Any]], spent: dict[str, Any]) -> list[Any]:
    """Return the comparison at equal MACs, with what is fair about it and what is not."""
    from concertina.family.rivals import NAIVE, TUNED, UNTUNED

    columns = ("accuracy", "naive", "torch_pruning", "torch_pruning_tuned")
    rows = [(f"{p['share']:.1%}", *(_percent(p[key]) for key in columns)) for p in points]
    ratio = spent["torch_pruning_tuned"] / max(1, spent["family"])
    return [
        'Accuracy at the same MACs. Rivals called "untuned" are not trained after the cut. Each network "tuned alone"',
        f"gets {EPOCHS} epochs of its own, with the batches and learning rate of the family, and learns from the core",
        f"too; the family gets {EPOCHS} epochs for all sizes together.",
        table(("MACs", "this family", NAIVE, UNTUNED, TUNED), rows),
        f"Training cost: {spent['family']:.2g} MACs for this family, {spent['torch_pruning_tuned']:.2g} "
        f"({ratio:.1f} times as much) for the {spent['tuned_networks']} networks tuned alone; teacher passes included.",
    ]


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _closing(folder: Path, artifact: Path, page: Path, written: Any) -> list[str]:
    program, python = _from_here("concertina"), _from_here(Path(sys.executable).name)
    commands = (
        (program, "inspect", artifact),
        (program, "extract", artifact, "--share", "0.5", "-o", folder / "digits-half"),
        (program, "measure", artifact, "--data", HELD_OUT, "--latency"),
        (python, "-c", f"import concertina as ct; print(ct.open({json.dumps(str(artifact))}).at(0.1))"),
    )
    return [
        f"{artifact}: {written.file_bytes:,} bytes, all sizes in one file; {page}: open it in a browser.",
        "",
        "Try next:",
        *(f"  {shlex.join(map(str, words))}" for words in commands),
    ]


def _from_here(name: str) -> str:
    """Return how to call a program of this environment from the current folder."""
    found, own = shutil.which(name), Path(sys.executable).parent / name
    if found is not None and Path(found) == own:
        return name
    return str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else str(own)
