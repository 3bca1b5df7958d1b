"""Optuna's NSGA-II over the whole space, by ask and tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from concertina.errors import ResumeError
from concertina.search.goal import Trial
from concertina.search.specs import from_levels, to_levels
from concertina.search.strategy import STRATEGIES, Problem, Strategy, need_optuna
from concertina.types import SubnetSpec

POPULATION = 50
HOPELESS = -1e9
"""Score of what is not affordable: whatever is affordable costs less and scores more, and so beats it."""
TRIES = 200
"""How often in a row children may repeat what is known, or cost too much, before there are taken to be no more."""


class Evolution:
    """A population under NSGA-II; repeats and specs that cost too much are answered for without being shown.

    Source: Deb et al. 2002, NSGA-II (10.1109/4235.996017), as in Optuna.

    Args:
        problem: Space, goal and seed.
        seed: Seed of the sampler.
        starts: Specs that the first population begins with.
    """

    def __init__(self, problem: Problem, seed: int, starts: Sequence[SubnetSpec] = ()) -> None:
        optuna = need_optuna()
        self._problem, self._known = problem, dict[SubnetSpec, float]()
        self._dims = {
            dim.name: optuna.distributions.IntDistribution(0, len(dim.choices) - 1) for dim in problem.space.dims
        }
        sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
        self._study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
        for spec in starts:
            self._study.enqueue_trial(to_levels(problem.space, spec))
        self._waiting: dict[SubnetSpec, Any] = {}

    def ask(self, count: int) -> list[SubnetSpec]:
        """Return up to `count` new affordable specs; each wants a `tell` before the next `ask`."""
        misses = 0
        while len(self._waiting) < count and misses < TRIES:
            trial = self._study.ask(self._dims)
            spec = from_levels(self._problem.space, trial.params)
            if spec not in self._known and spec not in self._waiting and self._problem.goal.affordable(spec):
                self._waiting[spec], misses = trial, 0
            else:
                self._answer(trial, spec, self._known.get(spec, HOPELESS))
                misses += 1
        return list(self._waiting)

    def tell(self, spec: SubnetSpec, score: float) -> None:
        """Answer for a spec that was asked for."""
        self._known[spec] = score
        self._answer(self._waiting.pop(spec), spec, score)

    def _answer(self, trial: Any, spec: SubnetSpec, score: float) -> None:
        cost = math.log(max(self._problem.goal.cost_of(spec), 1e-12))
        self._study.tell(trial, (cost, score))


@STRATEGIES.register("nsga2", source="Deb et al. 2002, NSGA-II (10.1109/4235.996017), as in Optuna", year=2002)
class Genetic(Strategy):
    """Optuna's NSGA-II alone: every child is measured. For when a measurement costs little."""

    name = "nsga2"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._evolution = Evolution(problem, problem.seed)
        self._told = 0
        self._batch: list[SubnetSpec] = []

    def propose(self, done: Sequence[Trial], count: int) -> list[SubnetSpec]:
        """Return the next children; rounds of an earlier run are asked for and told again.

        Raises:
            ResumeError: The earlier run was not this one.
        """
        while self._told < len(done):
            for spec in self._children(count):
                trial = done[self._told]
                if trial.spec != spec:
                    raise ResumeError("the journal holds other specs than this search asks for", do="Begin anew.")
                self._evolution.tell(spec, trial.score)
                self._told += 1
            self._batch = []
        return self._children(count)

    def _children(self, count: int) -> list[SubnetSpec]:
        self._batch = self._batch or self._evolution.ask(count)
        return self._batch
