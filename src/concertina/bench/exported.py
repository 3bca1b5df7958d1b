"""Points in torch and every other runtime, side by side, each runtime with a control of its own.

A runtime's control is its full point in a second turn: where those two differ by more than 2%, or too few samples are
clean, its figures are marked "unresolved".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from concertina.errors import ExtraError
from concertina.export import EAGER, EXPORTERS, export_point, runtimes
from concertina.family import Family
from concertina.family.runtimes import repeated, to_export
from concertina.measure.latency import CONTROL_TOLERANCE, LatencyResult, Runner, latency, module_runner, setting
from concertina.measure.machine import machine_fingerprint, versions
from concertina.types import Point, Record

CONTROL = "control"
PACKAGES = {EAGER: "torch", "onnx": "onnxruntime", "openvino": "openvino"}
"""Runtime -> the package that runs it."""
SPEED_UP = "latency_speed_up"
"""Metric: how many times faster than the full point."""
Key = tuple[str, str]
"""Runtime, and name of a point or "control"."""
Timed = Mapping[Key, LatencyResult]


@dataclass(frozen=True, eq=False)
class Plan:
    """What is measured, and how long it may take."""

    family: Family
    points: tuple[Point, ...]
    """Smallest first; the last is the full one."""
    runtimes: tuple[str, ...]
    limit_s: float
    """Longest time of a try."""
    tries: int
    """How often a setting is measured until all controls hold."""
    before_try: Callable[[int], None] = field(default=lambda _try: None)
    """Called with the number of the try, from 0; it may wait for a quiet moment."""
    tell: Callable[[str], None] = field(default=lambda _line: None)


def installed() -> dict[str, str]:
    """Return runtime -> version of the package that runs it; empty where an exporter's packages are missing."""
    found = {EAGER: version(PACKAGES[EAGER])}
    for name in runtimes():
        if name != EAGER:
            try:
                EXPORTERS.get(name)().require()
                found[name] = version(PACKAGES.get(name, name))
            except ExtraError:
                found[name] = ""
    return found


def exported_files(plan: Plan, folder: Path) -> dict[Key, Path]:
    """Return (runtime, point) -> its file, each checked against the subnet.

    Raises:
        ExtraError: A runtime is not installed.
        ExportError: A point cannot be exported or comes out wrong.
    """
    files = {}
    for runtime in plan.runtimes:
        if runtime != EAGER:
            for place, point in enumerate(plan.points):
                path = folder / f"{place}{EXPORTERS.get(runtime).suffix}"
                made = export_point(runtime, to_export(plan.family, point), path)
                files[runtime, point.name] = made.files[0]
                plan.tell(f"exported {point.name} to {runtime}: {made.agreement}")
    return files


def measure(plan: Plan, files: Mapping[Key, Path], batch: int, threads: int) -> Timed:
    """Measure one setting, all side by side, until each runtime's control has held in some try.

    A runtime keeps the figures of the first try in which its own control held, or of the last try.

    Args:
        plan: What is measured.
        files: What `exported_files` gave.
        batch: Inputs in one call.
        threads: Threads of the call.
    """
    ready = _runners(plan, files, batch, threads)
    names = {" ".join(key): key for key in ready}
    kept: dict[Key, LatencyResult] = {}
    held: set[str] = set()
    for attempt in range(plan.tries):
        plan.before_try(attempt)
        turns = {name: ready[key] for name, key in names.items()}
        found = latency(turns, time_limit_s=plan.limit_s, threads=threads, batch=batch)
        timed = {names[name]: result for name, result in found.items()}
        kept |= {key: result for key, result in timed.items() if key[0] not in held}
        held |= {runtime for runtime in plan.runtimes if _resolved(plan, timed, runtime)}
        plan.tell(f"{setting(batch, threads)} try {attempt + 1}: controls have held for {sorted(held)}")
        if len(held) == len(plan.runtimes):
            break
    return kept


def records(plan: Plan, timed: Timed) -> list[Record]:
    """Return latencies and speed-ups over the full point, marked where a runtime's own control does not hold."""
    made = []
    for runtime in plan.runtimes:
        good = _resolved(plan, timed, runtime)
        ratio, full = _control_ratio(plan, timed, runtime), timed[runtime, plan.points[-1].name]
        for point in plan.points:
            result = replace(timed[runtime, point.name], runtime=runtime, control_ratio=ratio)
            result = replace(result, status="ok" if good else "unresolved")
            made += result.to_records(point.spec.text)
            made.append(replace(times_faster(result, full), spec=point.spec.text, metric=SPEED_UP))
    return made


def times_faster(result: LatencyResult, other: LatencyResult) -> Record:
    """Return how many times as long as `result` the other took; its interval is that of both medians together."""
    low = other.low_ms / result.high_ms if other.low_ms and result.high_ms else None
    high = other.high_ms / result.low_ms if other.high_ms and result.low_ms else None
    value, scope = other.median_ms / result.median_ms, result.scope
    return Record(
        "", "latency_ratio", value, "ratio", result.n, low, high, None, scope, machine_fingerprint(), versions()
    )


def _runners(plan: Plan, files: Mapping[Key, Path], batch: int, threads: int) -> dict[Key, Runner]:
    """Return (runtime, point) -> runner, and a second turn of each runtime's full point as its control."""
    inputs = tuple(repeated(tensor, batch) for tensor in plan.family.core.example_inputs)
    made: dict[Key, Runner] = {}
    for runtime in sorted(plan.runtimes, key=lambda name: name == EAGER):
        for point in plan.points:
            if runtime == EAGER:
                made[runtime, point.name] = module_runner(plan.family.view(point.name), *inputs)
            else:
                program = EXPORTERS.get(runtime)().load(files[runtime, point.name], threads)
                made[runtime, point.name] = program.runner(*inputs)
        made[runtime, CONTROL] = made[runtime, plan.points[-1].name]
    return made


def _control_ratio(plan: Plan, timed: Timed, runtime: str) -> float:
    """Return the median of a runtime's control over that of its full point."""
    return timed[runtime, CONTROL].median_ms / timed[runtime, plan.points[-1].name].median_ms


def _resolved(plan: Plan, timed: Timed, runtime: str) -> bool:
    """Return whether a runtime's control holds and it has clean samples enough."""
    enough = all("clean samples of" not in timed[key].reason for key in timed if key[0] == runtime)
    return enough and abs(_control_ratio(plan, timed, runtime) - 1) <= CONTROL_TOLERANCE
