"""One run of a server under load: find the overload, then measure every way of answering in turns, round by round."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concertina.bench.serving import overhead
from concertina.bench.serving.process import Server, served, two_cores
from concertina.bench.serving.records import arm_records, compared, contenders
from concertina.bench.serving.scenarios import SCENARIOS, STEADY, Step, load_of, overload
from concertina.bench.serving.trial import Arm, Load, Samples, Trial, attempt
from concertina.bench.subjects import called, held_for
from concertina.errors import InputError
from concertina.family import open as open_family
from concertina.measure.runs import Run, new_run
from concertina.train import Reporter
from concertina.types import Record

RUN_THEME = "bench-serve"


@dataclass(frozen=True)
class Effort:
    """How long a run takes, and what its requests ask."""

    budget_ms: float = 50.0
    """Time that every request gives for its answer."""
    rounds: int = 3
    seconds: float = 5.0
    """How long requests arrive in one try."""
    tries: int = 2
    """How often a try is made until nothing else disturbed it."""
    requests: int = 1000
    """How many single requests are timed beside bare calls."""
    switches: int = 10_000
    """How often the size is changed while memory is watched."""


QUICK = Effort(rounds=1, seconds=2.0, tries=1, requests=200, switches=500)
FULL = Effort()


def run_serving(
    file: Path,
    data: str,
    effort: Effort = FULL,
    *,
    options: Sequence[str] = (),
    progress: Reporter | None = None,
    command: str = "",
) -> Run:
    """Measure a family file behind `concertina serve` on this machine and return the run.

    Args:
        file: The family file.
        data: Held-out data with a class for each input; by its labels an answer is right or wrong.
        effort: How long, and the budget.
        options: More options of `concertina serve`.
        progress: Told now and then where it stands.
        command: What was typed, to be kept in the run.

    Raises:
        InputError: The data has no class for each input.
        ConcertinaError: File or data cannot be used, the server does not start, or no load makes it late.
    """
    tell = progress or (lambda _stage, _done: None)
    family, cores = open_family(file), two_cores()
    with tempfile.TemporaryDirectory(prefix="concertina-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        held = held_for(data, family)
        samples = _written(held.tensors, folder / "inputs.bin")
        tell("starting the server", 0.0)
        with served(file, cores, "--threads", "1", *options) as server:
            bench = _Bench(called(file), server, samples, effort, tell)
            steps = bench.calibrated()
            rounds = bench.measured(steps[-1].per_s)
        found = [record for scenario in SCENARIOS for record in bench.told(scenario, rounds[scenario])]
        found += overhead.costs(folder, cores, effort.requests, effort.switches, tell)
    settings = _settings(bench, steps, command) | {
        "cores apart": cores.pinned,
        "server options": list(options),
        "data": held.label,
        "points": [{"name": p.name, "share": p.share, "spec": p.spec.text} for p in family.points],
    }
    return new_run(RUN_THEME, found, seed=0, settings=settings)


def _settings(bench: _Bench, steps: Sequence[Step], command: str) -> dict[str, Any]:
    return {
        "command": command,
        "subject": bench.subject,
        "arms": [arm.name for arm in bench.arms],
        "effort": asdict(bench.effort),
        "raising the load": [asdict(step) for step in steps],
        "overload_per_s": steps[-1].per_s,
        "scenarios": {
            scenario: [asdict(phase) for phase in load_of(scenario, steps[-1].per_s, bench.effort.seconds, 0).phases]
            for scenario in SCENARIOS
        },
    }


def _written(tensors: Sequence[Tensor], file: Path) -> Samples:
    """Write the inputs one after the other, and return what is to be sent.

    Raises:
        InputError: There is no class for each input.
    """
    good = len(tensors) == 2 and tensors[1].ndim == 1 and not tensors[1].is_floating_point()
    if not good:
        raise InputError("--data", asked=f"{len(tensors)} fields a sample", allowed="inputs with one class each")
    inputs = tensors[0].contiguous()
    inputs.numpy().tofile(file)
    return Samples(file, inputs[0].nbytes, tensors[1].to(torch.int64))


class _Bench:
    """What is measured on one server."""

    def __init__(self, subject: str, server: Server, samples: Samples, effort: Effort, tell: Reporter) -> None:
        self.subject, self.effort = subject, effort
        self._server, self._samples, self._tell = server, samples, tell
        subnets = server.metadata["parameters"]["subnets"]
        self.arms = contenders([subnet["name"] for subnet in subnets])
        self._full_ms = subnets[-1]["latency_ms"]["1"]

    def calibrated(self) -> list[Step]:
        """Return the loads that were tried on the full network alone, the overload last."""

        def probe(per_s: float) -> Trial:
            """Try one load."""
            self._tell(f"raising the load: {per_s:.0f} requests a second", 0.0)
            return self._attempt(self.arms[-2], load_of(STEADY, per_s, self.effort.seconds / 2, seed=1000))

        return overload(probe, min(1000 / self._full_ms, 2000.0), self.effort.budget_ms)

    def measured(self, per_s: float) -> dict[str, list[dict[str, Trial]]]:
        """Return scenario -> rounds -> what came of each way of answering, all under the same arrivals."""
        found: dict[str, list[dict[str, Trial]]] = {scenario: [] for scenario in SCENARIOS}
        for turn in range(self.effort.rounds):
            for place, scenario in enumerate(SCENARIOS):
                done = (turn + place / len(SCENARIOS)) / self.effort.rounds
                self._tell(f"rounds at {per_s:.0f} requests a second", done)
                load = load_of(scenario, per_s, self.effort.seconds, seed=turn)
                found[scenario].append(dict(self._round(load)))
        return found

    def told(self, scenario: str, rounds: Sequence[Mapping[str, Trial]]) -> Iterator[Record]:
        """Yield the figures of a scenario: those of clean rounds only, where there are two."""
        clean = [one for one in rounds if all(trial.clean for trial in one.values())]
        good = len(clean) >= min(2, self.effort.rounds)
        taken = clean if good else rounds
        for arm in self.arms:
            yield from arm_records(self.subject, scenario, [one[arm.name] for one in taken], self.effort.budget_ms)
        yield from compared(self.subject, scenario, taken, self.effort.budget_ms, doubt=not good)

    def _round(self, load: Load) -> Iterator[tuple[str, Trial]]:
        order = list(self.arms)
        random.Random(load.seed).shuffle(order)
        yield from ((arm.name, self._attempt(arm, load)) for arm in order)

    def _attempt(self, arm: Arm, load: Load) -> Trial:
        """Return a clean try, or else the one that was disturbed least."""
        tried: list[Trial] = []
        for _ in range(self.effort.tries):
            tried.append(attempt(self._server, self._samples, arm, load, self.effort.budget_ms))
            if tried[-1].clean:
                break
        return min(tried, key=lambda trial: (not trial.clean, trial.foreign or 0.0))
