"""Clock and run-queue wait: what the latency meter reads, apart so that tests can hand in their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_TASKS = Path("/proc/self/task")


def run_queue_waits(tasks: Path = _TASKS) -> dict[str, int] | None:
    """Return thread id -> nanoseconds that each thread of this process has waited on a run queue since it began.

    Args:
        tasks: Folder with one folder per thread, each with a file `schedstat`.

    Returns:
        None where the system keeps no such account.
    """
    waits: dict[str, int] = {}
    ran = 0
    for stat in tasks.glob("*/schedstat"):
        try:
            on_cpu, waited = (int(field) for field in stat.read_text(encoding="ascii").split()[:2])
        except (OSError, ValueError):
            continue  # The thread has ended since the folder was listed.
        waits[stat.parent.name] = waited
        ran += on_cpu
    return waits if ran else None


@dataclass(frozen=True)
class Probe:
    """Where the latency meter reads time and waiting."""

    clock: Callable[[], float] = time.perf_counter
    """Seconds, from any start."""
    waits: Callable[[], Mapping[str, int] | None] = run_queue_waits
    """Thread id -> nanoseconds waited so far; None where that is not known."""


@dataclass(frozen=True)
class Sample:
    """One timed call."""

    ms: float
    wait_share: float | None
    """Share of the time that the process's threads waited on a run queue; None where that is not known."""


def take_sample(runner: Callable[[], object], probe: Probe) -> Sample:
    """Call `runner` once and return how long it took and how much of that was waiting."""
    before, start = probe.waits(), probe.clock()
    runner()
    seconds = probe.clock() - start
    after = probe.waits()
    if before is None or after is None:
        return Sample(1000 * seconds, None)
    waited = sum(total - before.get(thread, 0) for thread, total in after.items())
    return Sample(1000 * seconds, waited / max(1.0, 1e9 * seconds))
