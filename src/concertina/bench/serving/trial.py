"""One try: a load, one way of answering it, and what came of every request."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from concertina.bench.serving import generator
from concertina.bench.serving.arrivals import Phase, arrivals
from concertina.bench.serving.process import LOCAL, Server, foreign_share, python
from concertina.errors import ConcertinaError
from concertina.measure.intervals import quantile

LATE_MS, MOST_LATE = 2.0, 0.01
"""A request sent so much after it was due was sent late; a try with more than this share of them is not clean."""
MOST_FOREIGN = 0.05
"""Nor is one in which others had the server's core for more than this share of the time."""
PATIENCE_S = 5.0
KINDS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}


@dataclass(frozen=True)
class Arm:
    """One way of answering."""

    name: str
    point: str = ""
    """The point that every request names; empty where the policy chooses."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What is sent, and the right answers."""

    file: Path
    """All inputs, one after the other."""
    item_bytes: int
    labels: Tensor
    """(n,) int64."""


@dataclass(frozen=True, eq=False)
class Load:
    """What arrives when."""

    phases: Sequence[Phase]
    seed: int

    @property
    def seconds(self) -> float:
        """How long requests arrive."""
        return sum(phase.seconds for phase in self.phases)


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of every request of a try."""

    arm: Arm
    due_s: np.ndarray[Any, Any]
    """When each was due, (n,)."""
    status: np.ndarray[Any, Any]
    """HTTP status, 0 where there was no answer."""
    latency_ms: np.ndarray[Any, Any]
    """From when it was due to when its answer was there; inf where there was none."""
    late_ms: np.ndarray[Any, Any]
    """How late the client sent it."""
    correct: np.ndarray[Any, Any]
    """Whether the answer was that of the label."""
    points: Sequence[str]
    """Which point answered; empty for none."""
    foreign: float | None
    """Share of the time in which others had the server's core; None where that is not known."""

    @property
    def accepted(self) -> np.ndarray[Any, Any]:
        """Which requests were answered at all."""
        return self.status == 200

    @property
    def sent_late(self) -> float:
        """Share of requests that the client itself sent late."""
        return float(np.mean(self.late_ms > LATE_MS))

    @property
    def clean(self) -> bool:
        """Whether neither the client nor others on the server's core disturbed it."""
        return self.sent_late <= MOST_LATE and (self.foreign is None or self.foreign <= MOST_FOREIGN)

    def in_time(self, budget_ms: float) -> np.ndarray[Any, Any]:
        """Return which requests were answered within a budget."""
        return self.accepted & (self.latency_ms <= budget_ms)

    def correct_in_time(self, budget_ms: float) -> float:
        """Return the share of all requests that were answered rightly within a budget."""
        return float(np.mean(self.in_time(budget_ms) & self.correct))

    def latency_quantile(self, share: float) -> float:
        """Return a quantile of the latency of accepted requests, in milliseconds; infinite where there were none."""
        taken: list[float] = self.latency_ms[self.accepted].tolist()
        return quantile(taken, share) if taken else float("inf")


def attempt(server: Server, samples: Samples, arm: Arm, load: Load, budget_ms: float) -> Trial:
    """Send a load to the server and return what came of it.

    Args:
        server: Running and idle.
        samples: What is sent, in an order of the seed.
        arm: Whether requests name a point.
        load: When they arrive.
        budget_ms: What every request states.

    Raises:
        ConcertinaError: The client broke down.
    """
    due = arrivals(load.phases, load.seed)
    count = len(samples.labels)
    chance = np.random.default_rng(load.seed)
    items = np.concatenate([chance.permutation(count) for _ in range(len(due) // count + 1)])[: len(due)]
    before, begin = server.times(), time.perf_counter()
    told = _sent(_plan(server, samples, arm, budget_ms) | {"due": due, "items": items.tolist()})
    foreign = foreign_share(before, server.times(), time.perf_counter() - begin)
    return _trial(arm, np.array(due), told, samples.labels.numpy()[items], (foreign, _kind(server)))


def _plan(server: Server, samples: Samples, arm: Arm, budget_ms: float) -> dict[str, Any]:
    inputs, outputs = server.metadata["inputs"], server.metadata["outputs"]
    entry = {
        "name": inputs[0]["name"],
        "datatype": inputs[0]["datatype"],
        "shape": [1, *inputs[0]["shape"][1:]],
        "parameters": {"binary_data_size": samples.item_bytes},
    }
    asked = {
        "inputs": [entry],
        "outputs": [{"name": outputs[0]["name"], "parameters": {"binary_data": True}}],
        "parameters": {"latency_budget_ms": budget_ms} | ({"subnet": arm.point} if arm.point else {}),
    }
    told = json.dumps(asked).encode()
    head = generator.request_head(server.path, LOCAL, told, samples.item_bytes).decode("latin-1")
    return {
        "host": LOCAL,
        "port": server.port,
        "head": head,
        "inputs": str(samples.file),
        "item_bytes": samples.item_bytes,
        "patience_s": PATIENCE_S,
        "cores": sorted(server.cores.client),
    }


def _sent(plan: dict[str, Any]) -> dict[str, list[Any]]:
    """Run the client in a process of its own."""
    client = python(["-I", generator.__file__])
    said, errors = client.communicate(json.dumps(plan).encode())
    if client.returncode:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no word"]
        raise ConcertinaError("the client of the benchmark broke down", asked=last[0])
    found: dict[str, list[Any]] = json.loads(said)
    return found


def _kind(server: Server) -> str:
    return KINDS[server.metadata["outputs"][0]["datatype"]]


def _trial(
    arm: Arm, due: np.ndarray[Any, Any], told: dict[str, list[Any]], labels: Any, more: tuple[float | None, str]
) -> Trial:
    foreign, kind = more
    replies = told["replies"]
    done = np.array([np.inf if time is None else time for time in told["done"]])
    sent = np.array([np.inf if time is None else time for time in told["sent"]])
    outputs = [np.frombuffer(bytes.fromhex(reply["output"]), kind) for reply in replies]
    classes = np.array([int(output.argmax()) if len(output) else -1 for output in outputs])
    return Trial(
        arm,
        due,
        np.array([reply["status"] for reply in replies]),
        1000 * (done - due),
        1000 * (sent - due),
        classes == labels,
        [reply["point"] for reply in replies],
        foreign,
    )
