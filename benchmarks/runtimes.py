"""Points of a family file in torch, ONNX Runtime and OpenVINO, side by side, for every batch size and thread count.

Every runtime also runs its full point against itself: where those two differ by more than 2%, its figures are marked
"unresolved". A setting is measured again, a few times, until all controls hold. Writes one run file, prints one table.

Run: python benchmarks/runtimes.py digits.concertina
     python benchmarks/runtimes.py resnet56.concertina --points p47.6,p100 --theme runtimes-resnet56
     python benchmarks/runtimes.py --table benchmarks/results/FILE.json     (only print the table again)

It wants a quiet machine: beside other work hardly a call at batch 32 is clean. With `--wait S` each try waits up to S
seconds for a moment when nothing else runs.

The families of the committed results:
     concertina fit zoo:digits-cnn --data zoo:digits@train --epochs 0 --points 0.3,0.6,1 -o digits.concertina
     concertina fit zoo:cifar-resnet56 --weights ../shared/data/resnet56-cifar10.safetensors --epochs 0 \
         --data ../shared/data/cifar10-test.npz@part=calibration --points 0.25,0.476,0.75,1 -o resnet56.concertina
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch

import concertina as ct
from concertina.export import EAGER, EXPORTERS, export_point, runtimes
from concertina.family.runtimes import repeated, to_export
from concertina.measure.latency import (
    CONTROL_TOLERANCE,
    UNGATED,
    UNRESOLVED,
    LatencyResult,
    Runner,
    latency,
    module_runner,
    setting,
)
from concertina.measure.machine import machine_fingerprint, versions
from concertina.measure.runs import Run, new_run, read_run, write_run
from concertina.types import Point, Record

RESULTS = Path(__file__).resolve().parent / "results"
CONTROL = "control"
PACKAGES = {"onnx": ("onnxruntime",), "openvino": ("openvino",)}


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long it may take."""

    family: ct.Family
    points: tuple[Point, ...]
    """Smallest first; the last is the full one."""
    runtimes: tuple[str, ...]
    limit_s: float
    tries: int
    pause_s: float
    wait_s: float


Timed = Mapping[tuple[str, str], LatencyResult]
"""(runtime, point or "control") -> result."""


def export_all(plan: Plan, folder: Path) -> dict[tuple[str, str], Path]:
    """Return (runtime, point) -> its file, each checked against the subnet."""
    files = {}
    for runtime in plan.runtimes:
        if runtime != EAGER:
            for place, point in enumerate(plan.points):
                path = folder / f"{place}{EXPORTERS.get(runtime).suffix}"
                made = export_point(runtime, to_export(plan.family, point), path)
                files[runtime, point.name] = made.files[0]
                print(f"exported {point.name} to {runtime}: {made.agreement}", file=sys.stderr)
    return files


def runners(
    plan: Plan, files: Mapping[tuple[str, str], Path], batch: int, threads: int
) -> dict[tuple[str, str], Runner]:
    """Return (runtime, point) -> runner, and a second turn of each runtime's full point as its control."""
    inputs = tuple(repeated(tensor, batch) for tensor in plan.family.core.example_inputs)
    made: dict[tuple[str, str], Runner] = {}
    for runtime in sorted(plan.runtimes, key=lambda name: name == EAGER):
        for point in plan.points:
            if runtime == EAGER:
                made[runtime, point.name] = module_runner(plan.family.view(point.name), *inputs)
            else:
                program = EXPORTERS.get(runtime)().load(files[runtime, point.name], threads)
                made[runtime, point.name] = program.runner(*inputs)
        made[runtime, CONTROL] = made[runtime, plan.points[-1].name]
    return made


def control_ratio(plan: Plan, timed: Timed, runtime: str) -> float:
    """Return the median of a runtime's control over that of its full point."""
    return timed[runtime, CONTROL].median_ms / timed[runtime, plan.points[-1].name].median_ms


def resolved(plan: Plan, timed: Timed) -> list[str]:
    """Return the runtimes whose control holds and that have clean samples enough."""
    return [
        runtime
        for runtime in plan.runtimes
        if abs(control_ratio(plan, timed, runtime) - 1) <= CONTROL_TOLERANCE
        and all("clean samples of" not in timed[key].reason for key in timed if key[0] == runtime)
    ]


def measure(plan: Plan, files: Mapping[tuple[str, str], Path], batch: int, threads: int) -> Timed:
    """Measure one setting, all side by side, until each runtime's control has held in some try.

    A runtime keeps the figures of the first try in which its own control held, or of the last try.
    """
    ready = runners(plan, files, batch, threads)
    names = {" ".join(key): key for key in ready}
    kept: dict[tuple[str, str], LatencyResult] = {}
    held: set[str] = set()
    for attempt in range(plan.tries):
        if attempt:
            time.sleep(plan.pause_s)
        wait_for_quiet(plan.wait_s)
        turns = {name: ready[key] for name, key in names.items()}
        found = latency(turns, time_limit_s=plan.limit_s, threads=threads, batch=batch)
        timed = {names[name]: result for name, result in found.items()}
        kept |= {key: result for key, result in timed.items() if key[0] not in held}
        held |= set(resolved(plan, timed))
        print(f"{setting(batch, threads)} try {attempt + 1}: controls have held for {sorted(held)}", file=sys.stderr)
        if len(held) == len(plan.runtimes):
            break
    return kept


def wait_for_quiet(limit_s: float, every_s: float = 10.0) -> None:
    """Wait until this is the only process that is running, for up to `limit_s` seconds."""
    load, until = Path("/proc/loadavg"), time.monotonic() + limit_s
    while load.exists() and time.monotonic() < until:
        if int(load.read_text(encoding="ascii").split()[3].partition("/")[0]) <= 1:
            return
        time.sleep(every_s)


def records(plan: Plan, timed: Timed) -> list[Record]:
    """Return latencies and speed-ups over the full point, marked where a runtime's own control does not hold."""
    made, good, full = [], resolved(plan, timed), plan.points[-1]
    for runtime in plan.runtimes:
        ratio = control_ratio(plan, timed, runtime)
        for point in plan.points:
            status = "ok" if runtime in good else "unresolved"
            result = replace(timed[runtime, point.name], runtime=runtime, status=status, control_ratio=ratio)
            made += result.to_records(point.spec.text)
            made.append(speed_up(point, result, timed[runtime, full.name]))
    return made


def speed_up(point: Point, result: LatencyResult, full: LatencyResult) -> Record:
    """Return how many times faster than the full point a point is; the interval is that of both medians together."""
    low = full.low_ms / result.high_ms if full.low_ms and result.high_ms else None
    high = full.high_ms / result.low_ms if full.high_ms and result.low_ms else None
    value = full.median_ms / result.median_ms
    scope, machine = result.scope, machine_fingerprint()
    return Record(
        point.spec.text, "latency_speed_up", value, "ratio", result.n, low, high, None, scope, machine, versions()
    )


def table(run: Run) -> str:
    """Return a run as one Markdown table: a line a setting and runtime, a column a point."""
    points = run.settings["points"]
    scopes = list(dict.fromkeys(record.scope for record in run.records))
    heads = [f"{p['name']} ({p['share']:.1%} MACs), ms" for p in points]
    lines = [
        "| " + " | ".join(["batch", "threads", "runtime", *heads, "control"]) + " |",
        "|" + "---|" * (4 + len(points)),
    ]
    for scope in scopes:
        batch, threads, runtime, *marks = scope.split()
        cells = [batch.partition("=")[2], threads.partition("=")[2], " ".join([runtime, *marks])]
        for point in points:
            median, faster = (figure(run, point["spec"], m, scope) for m in ("latency_ms_median", "latency_speed_up"))
            cells.append(f"{median.value:.3g} ({faster.value:.2f}x)")
        cells.append(f"{figure(run, points[0]['spec'], 'latency_control', scope).value:.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    unsure = [mark for mark in (UNGATED, UNRESOLVED) if any(mark in scope for scope in scopes)]
    note = f" Not to be trusted: lines marked {' or '.join(unsure)}." if unsure else ""
    return "\n".join([*lines, "", f"Medians; in brackets: times faster than the full point.{note} {run.machine}."])


def figure(run: Run, spec: str, metric: str, scope: str) -> Record:
    """Return one record of a run."""
    return next(r for r in run.records if (r.spec, r.metric, r.scope) == (spec, metric, scope))


def priority() -> str:
    """Return the niceness of this process and, where the system groups by session, of its session."""
    group = Path("/proc/self/autogroup")
    found = group.read_text(encoding="ascii").split() if group.exists() else []
    return f"nice {os.nice(0)}" + (f", session {' '.join(found[1:])}" if found else "")


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="a family file")
    parser.add_argument("--points", default="", help="names of points, the full one last; all when left out")
    parser.add_argument("--batches", type=numbers, default=[1, 32])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--runtimes", default=",".join(runtimes()))
    parser.add_argument("--limit", type=float, default=30.0, help="seconds a try")
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--pause", type=float, default=10.0, help="seconds between tries")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait for a quiet moment before each try")
    parser.add_argument("--theme", default="runtimes")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", type=Path, help="print the table of a run file and leave")
    return parser.parse_args()


def main() -> None:
    """Measure, write the run file, print the table."""
    given = arguments()
    if given.table:
        print(table(read_run(given.table)))
        return
    family = ct.open(given.file)
    names = given.points.split(",") if given.points else [point.name for point in family.points]
    points: Sequence[Point] = [family.choose(point=name) for name in names]
    plan = Plan(
        family, tuple(points), tuple(given.runtimes.split(",")), given.limit, given.tries, given.pause, given.wait
    )
    found: list[Record] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        files = export_all(plan, Path(folder))
        for batch in given.batches:
            for threads in given.threads:
                found += records(plan, measure(plan, files, batch, threads))
    packages = [name for runtime in plan.runtimes for name in PACKAGES.get(runtime, ())]
    settings = {
        "command": shlex.join(["python", "benchmarks/runtimes.py", Path(given.file).name, *sys.argv[2:]]),
        "source": family.core.source,
        "core": family.core.fingerprint,
        "made with": dict(family.evidence.provenance),
        "points": [{"name": p.name, "spec": p.spec.text, "share": p.share, "macs": p.macs} for p in points],
        "packages": {name: version(name) for name in packages},
        "priority": priority(),
        "control": f"full point against itself, within {CONTROL_TOLERANCE:.0%}, for each runtime",
    }
    run = new_run(given.theme, found, settings=settings)
    print(write_run(given.results, run).name)
    print(table(run))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
