"""How long a network takes, measured so that a busy machine cannot fool us.

Runners take turns, so that all meet the same machine. A sample is *clean* when the process's threads waited on a run
queue for less than 2% of it; figures rest on clean samples. A runner also runs against its own copy: when those two
differ by more than 2%, the machine was too noisy and every result is "unresolved".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from concertina.errors import InputError
from concertina.measure.intervals import median_interval, quantile
from concertina.measure.machine import machine_fingerprint, versions
from concertina.measure.probe import Probe, Sample, take_sample
from concertina.types import Record

Runner = Callable[[], object]

MAX_WAIT_SHARE = 0.02
"""A sample with more waiting than this is dirty."""
CONTROL_TOLERANCE = 0.02
"""How far a runner and its own copy may differ."""
WARM_UP_ROUNDS = 3
"""Rounds that are run and thrown away, time allowing."""
MAX_DOUBLINGS = 3
"""How often the number of samples is doubled when the control does not hold yet."""
UNGATED, UNRESOLVED = "ungated", "unresolved"
"""Marks on the scope of figures: waiting times were not known; the figures are not to be trusted."""


@dataclass(frozen=True)
class LatencyResult:
    """How long one runner took."""

    name: str
    status: Literal["ok", "unresolved"]
    """Whether the figures can be trusted."""
    reason: str
    """Why not; empty when they can."""
    median_ms: float
    p95_ms: float
    low_ms: float | None
    """Lower end of the 95% interval of the median; None for under 6 samples."""
    high_ms: float | None
    n: int
    """Samples that the figures rest on."""
    dirty: int
    """Samples thrown away, or to be doubted where there was no clean one."""
    basis: Literal["clean", "all"]
    """Whether the figures rest on clean samples only."""
    gated: bool
    """Whether the system told how long threads waited; without it no sample can be called dirty."""
    batch: int
    threads: int
    control_ratio: float
    """Median of a copy of the first runner over the median of that runner itself."""
    runtime: str = ""
    """What ran it, where that was not torch itself: "onnx"."""

    @property
    def scope(self) -> str:
        """What the figures speak of: "batch=1 threads=2 onnx", with a mark when they are not to be trusted."""
        marks = ("" if self.gated else f" {UNGATED}") + ("" if self.status == "ok" else f" {UNRESOLVED}")
        return f"{setting(self.batch, self.threads, self.runtime)}{marks}"

    def to_records(self, spec: str) -> list[Record]:
        """Return the figures as records of the subnet whose canonical text is `spec`."""
        figures = (
            ("latency_ms_median", self.median_ms, "ms", self.n, self.low_ms, self.high_ms),
            ("latency_ms_p95", self.p95_ms, "ms", self.n, None, None),
            ("latency_dirty", float(self.dirty), "samples", self.n, None, None),
            ("latency_control", self.control_ratio, "ratio", self.n, None, None),
        )
        return [
            Record(spec, metric, value, unit, n, low, high, None, self.scope, machine_fingerprint(), versions())
            for metric, value, unit, n, low, high in figures
        ]


def setting(batch: int, threads: int, runtime: str = "") -> str:
    """Return the scope of figures of one setting, without marks.

    Example:
        >>> setting(1, 2), setting(32, 1, "onnx")
        ('batch=1 threads=2', 'batch=32 threads=1 onnx')
    """
    return " ".join(filter(None, (f"batch={batch}", f"threads={threads}", runtime)))


def is_of_setting(scope: str, wanted: str) -> bool:
    """Return whether the scope of a figure is that of a setting, whatever its marks.

    Example:
        >>> is_of_setting("batch=1 threads=2 unresolved", "batch=1 threads=2")
        True
        >>> is_of_setting("batch=1 threads=2 onnx", "batch=1 threads=2")
        False
    """
    return [word for word in scope.split() if word not in (UNGATED, UNRESOLVED)] == wanted.split()


def module_runner(module: nn.Module, *inputs: Any) -> Runner:
    """Return a runner that calls `module(*inputs)` in inference mode.

    Example:
        >>> module_runner(nn.Identity(), torch.ones(2))()
        tensor([1., 1.])
    """

    def run() -> object:
        """Call the network once."""
        with torch.inference_mode():
            return module(*inputs)

    return run


def latency(
    runners: Mapping[str, Runner],
    *,
    min_samples: int = 30,
    time_limit_s: float = 20.0,
    threads: int | None = None,
    batch: int = 1,
    control: Runner | None = None,
    probe: Probe | None = None,
) -> dict[str, LatencyResult]:
    """Time several runners in turns and return name -> result; it never fails for noise, it says "unresolved".

    Sampling ends when every runner has `min_samples` clean samples and the control holds. While it does not hold, the
    number asked for is doubled, up to three times. It ends at the time limit in any case, after one round at least.

    Args:
        runners: Name -> callable without arguments that returns when its work is done (on an accelerator: that waits
            for it).
        min_samples: Clean samples wanted of each.
        time_limit_s: Seconds for everything, warm-up included.
        threads: Threads torch may use inside an operation, set for the time of measuring; None leaves them.
        batch: Inputs per call, as a statement; it is not used.
        control: A copy of the first runner; the first runner itself, in a turn of its own, where none is given.
        probe: Clock and reader of waiting times, for tests.

    Raises:
        InputError: There is no runner, or a number is not positive.

    Source: DESIGN section 5 (ours).
    """
    _check(runners, min_samples, time_limit_s, threads, batch)
    probe = probe or Probe()
    first = next(iter(runners))
    turns: list[tuple[str | None, Runner]] = [*runners.items(), (None, control or runners[first])]
    with _torch_threads(threads) as used:
        samples = _take_turns(turns, first, min_samples, time_limit_s, probe)
    basis = {name: _figures(taken) for name, taken in samples.items()}
    ratio = _ratio(basis[None], basis[first])
    return {name: _result(name, samples[name], min_samples, (batch, used), ratio) for name in runners}


def _check(runners: Mapping[str, Runner], min_samples: int, limit: float, threads: int | None, batch: int) -> None:
    if not runners:
        raise InputError("latency", asked="no runner", allowed="one or more")
    numbers = {"min_samples": min_samples, "time_limit_s": limit, "threads": threads, "batch": batch}
    for name, number in numbers.items():
        if number is not None and not number > 0:
            raise InputError(f"latency: {name}", asked=str(number), allowed="more than 0")


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[int]:
    """Set torch's threads and give them back afterwards; yields the number in use."""
    before = torch.get_num_threads()
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
    try:
        yield torch.get_num_threads()
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _take_turns(
    turns: list[tuple[str | None, Runner]], first: str, min_samples: int, limit: float, probe: Probe
) -> dict[str | None, list[Sample]]:
    """Return name -> samples; the copy of the first runner goes by None.

    Each round has an order of its own. In a fixed one a runner always meets the caches that the same other has left,
    and the first, right after its copy, came out up to 13% faster than that copy.
    """
    shuffle, start = random.Random(0), probe.clock()
    for rounds in range(WARM_UP_ROUNDS):
        if rounds and probe.clock() - start > limit / 10:
            break
        for _, runner in turns:
            runner()
    samples: dict[str | None, list[Sample]] = {name: [] for name, _ in turns}
    wanted, doublings, rounds = min_samples, 0, 0
    while True:
        for name, runner in shuffle.sample(turns, len(turns)):
            if rounds and probe.clock() - start > limit:
                return samples
            samples[name].append(take_sample(runner, probe))
        rounds += 1
        if min(len(_usable(taken)) for taken in samples.values()) < wanted:
            continue
        if doublings == MAX_DOUBLINGS or _holds(_ratio(_figures(samples[None]), _figures(samples[first]))):
            return samples
        wanted, doublings = 2 * wanted, doublings + 1


def _usable(samples: list[Sample]) -> list[Sample]:
    """Return the samples that are not known to be dirty."""
    return [one for one in samples if one.wait_share is None or one.wait_share < MAX_WAIT_SHARE]


def _figures(samples: list[Sample]) -> list[float]:
    """Return the milliseconds that figures rest on: of clean samples, or of all where none is clean."""
    return [one.ms for one in _usable(samples) or samples]


def _ratio(copy: list[float], original: list[float]) -> float:
    return quantile(copy, 0.5) / max(quantile(original, 0.5), 1e-9)


def _holds(ratio: float) -> bool:
    return abs(ratio - 1) <= CONTROL_TOLERANCE


def _result(
    name: str, samples: list[Sample], min_samples: int, setting: tuple[int, int], ratio: float
) -> LatencyResult:
    times, usable = _figures(samples), _usable(samples)
    reasons = []
    if len(usable) < min_samples:
        reasons.append(f"{len(usable)} clean samples of {min_samples} wanted")
    if not _holds(ratio):
        reasons.append(f"a copy of the first runner took {ratio:.3f} times as long as itself")
    low, high = median_interval(times) or (None, None)
    return LatencyResult(
        name=name,
        status="unresolved" if reasons else "ok",
        reason="; ".join(reasons),
        median_ms=quantile(times, 0.5),
        p95_ms=quantile(times, 0.95),
        low_ms=low,
        high_ms=high,
        n=len(times),
        dirty=len(samples) - len(usable),
        basis="clean" if usable else "all",
        gated=all(one.wait_share is not None for one in samples),
        batch=setting[0],
        threads=setting[1],
        control_ratio=ratio,
    )
