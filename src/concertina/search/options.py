"""Options of `search`, as they are given and as one frozen value."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from concertina.errors import InputError, did_you_mean
from concertina.objective.base import Metric
from concertina.search.executor import check_executor
from concertina.search.strategy import STRATEGIES

MAX_SEED = 2**32 - 1


class SearchOptions(TypedDict, total=False):
    """Options of `search` beyond family and data; each is a field of `SearchSettings`."""

    latency_ms: float | None
    batch: int
    threads: int
    macs: float | None
    min_accuracy: float | None
    trials: int
    points: int
    seed: int
    strategy: str
    samples: int
    calibration_samples: int
    executor: str
    workers: int
    journal: str | Path | None
    resume: bool


@dataclass(frozen=True)
class SearchSettings:
    """How a search is done; equal settings, family and data give equal results."""

    latency_ms: float | None = None
    """Largest latency of one call on this machine; with it, latency is what is saved. Otherwise MACs are."""
    batch: int = 1
    """Inputs in one call, for latency."""
    threads: int = 1
    """Threads of the call, for latency."""
    macs: float | None = None
    """Largest multiply-accumulates for one input."""
    min_accuracy: float | None = None
    """Worst value allowed of the figure the task is judged by (for a loss: the largest)."""
    trials: int = 120
    """Subnets that are calibrated and measured, those of an interrupted run included."""
    points: int = 3
    """Most subnets that become operating points."""
    seed: int = 0
    strategy: str = "guided"
    """Name in `STRATEGIES`."""
    samples: int = 2048
    """Most held-out samples that a trial is measured on."""
    calibration_samples: int = 1024
    """Most samples that a trial's statistics come from."""
    executor: str = "serial"
    """Name in `EXECUTORS`: where evaluations run. What is found does not depend on it."""
    workers: int = 0
    """How many evaluations run at once; 0 for one a core."""
    journal: Path | None = None
    """File in which every measurement is kept, so that a search survives being killed."""
    resume: bool = False
    """Go on with what the journal holds."""

    @property
    def num_workers(self) -> int:
        """How many evaluations run at once."""
        return self.workers or os.cpu_count() or 1


_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "latency_ms": (lambda x: x is None or (_is_number(x) and x > 0), "milliseconds above 0"),
    "batch": (lambda x: _is_whole(x) and x >= 1, "1 or more"),
    "threads": (lambda x: _is_whole(x) and x >= 1, "1 or more"),
    "macs": (lambda x: x is None or (_is_number(x) and x > 0), "a number above 0"),
    "min_accuracy": (lambda x: x is None or _is_number(x), "a number"),
    "trials": (lambda x: _is_whole(x) and x >= 1, "1 or more"),
    "points": (lambda x: _is_whole(x) and x >= 1, "1 or more"),
    "seed": (lambda x: _is_whole(x) and 0 <= x <= MAX_SEED, f"0 to {MAX_SEED}"),
    "samples": (lambda x: _is_whole(x) and x >= 2, "2 or more"),
    "calibration_samples": (lambda x: _is_whole(x) and x >= 2, "2 or more"),
    "workers": (lambda x: _is_whole(x) and x >= 0, "1 or more, 0 for one a core"),
    "journal": (lambda x: x is None or isinstance(x, str | Path), "a path"),
    "resume": (lambda x: isinstance(x, bool), "True or False"),
}


def search_settings(options: SearchOptions) -> SearchSettings:
    """Return the settings that options stand for.

    Raises:
        InputError: An option is unknown, of the wrong kind or out of range; the text names what is allowed.
        UnknownNameError: No such strategy or executor.
        ExtraError: The executor needs a package that is not installed.
    """
    known = [field.name for field in fields(SearchSettings)]
    for name, value in options.items():
        if name not in known:
            do = did_you_mean(name, known)
            raise InputError("unknown option of search", asked=repr(name), allowed=", ".join(known), do=do)
        good, allowed = _RANGES.get(name, (lambda _: True, ""))
        if not good(value):
            raise InputError(f"option {name}", asked=repr(value), allowed=allowed)
    journal = options.get("journal")
    settings = SearchSettings(**{**options, "journal": Path(journal) if journal else None})  # type: ignore[arg-type]
    if settings.latency_ms is None and ("batch" in options or "threads" in options):
        raise InputError("options batch and threads", asked="no latency_ms", allowed="together with latency_ms")
    STRATEGIES.entry(settings.strategy)
    check_executor(settings.executor)
    if settings.resume and settings.journal is None:
        raise InputError("option resume", asked="no journal", allowed="together with journal=FILE")
    return settings


def check_metric(settings: SearchSettings, metric: Metric) -> None:
    """Refuse a bound that no network can meet.

    Raises:
        InputError: A share is to be above 1 or below 0.
    """
    worst = settings.min_accuracy
    if worst is not None and metric.unit == "share" and not 0 <= worst <= 1:
        raise InputError("option min_accuracy", asked=f"{worst:g}", allowed=f"0 to 1: {metric.name} is a share")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
