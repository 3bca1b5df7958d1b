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
from functools import partial
from pathlib import Path

import torch

import concertina as ct
from concertina.bench.exported import PACKAGES, SPEED_UP, Plan, exported_files, installed, measure, records
from concertina.export import EAGER, runtimes
from concertina.measure.latency import CONTROL_TOLERANCE, UNGATED, UNRESOLVED
from concertina.measure.runs import Run, new_run, read_run, write_run
from concertina.types import Record

RESULTS = Path(__file__).resolve().parent / "results"


def before_try(pause_s: float, wait_s: float, attempt: int) -> None:
    """Pause after a try that did not hold, then wait for a quiet moment."""
    if attempt:
        time.sleep(pause_s)
    wait_for_quiet(wait_s)


def wait_for_quiet(limit_s: float, every_s: float = 10.0) -> None:
    """Wait until this is the only process that is running, for up to `limit_s` seconds."""
    load, until = Path("/proc/loadavg"), time.monotonic() + limit_s
    while load.exists() and time.monotonic() < until:
        if int(load.read_text(encoding="ascii").split()[3].partition("/")[0]) <= 1:
            return
        time.sleep(every_s)


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
            median, faster = (figure(run, point["spec"], m, scope) for m in ("latency_ms_median", SPEED_UP))
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
    points = tuple(family.choose(point=name) for name in names)
    plan = Plan(
        family,
        points,
        tuple(given.runtimes.split(",")),
        given.limit,
        given.tries,
        partial(before_try, given.pause, given.wait),
        partial(print, file=sys.stderr),
    )
    found: list[Record] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        files = exported_files(plan, Path(folder))
        for batch in given.batches:
            for threads in given.threads:
                found += records(plan, measure(plan, files, batch, threads))
    versions = installed()
    settings = {
        "command": shlex.join(["python", "benchmarks/runtimes.py", Path(given.file).name, *sys.argv[2:]]),
        "source": family.core.source,
        "core": family.core.fingerprint,
        "made with": dict(family.evidence.provenance),
        "points": [{"name": p.name, "spec": p.spec.text, "share": p.share, "macs": p.macs} for p in points],
        "packages": {PACKAGES[name]: versions[name] for name in plan.runtimes if name != EAGER},
        "priority": priority(),
        "control": f"full point against itself, within {CONTROL_TOLERANCE:.0%}, for each runtime",
    }
    run = new_run(given.theme, found, settings=settings)
    print(write_run(given.results, run).name)
    print(table(run))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
