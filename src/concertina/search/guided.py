"""The guided strategy: a predictor looks at hundreds of specs for each one that is measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from concertina.nest import random_spec
from concertina.search.front import Area, front
from concertina.search.genetic import POPULATION, Evolution
from concertina.search.goal import Trial
from concertina.search.predictor import Predictor
from concertina.search.specs import as_numbers, neighbours, prefixes
from concertina.search.strategy import STRATEGIES, Strategy
from concertina.search.stretch import Stretch
from concertina.types import SubnetSpec

PREFIXES, DRAWN = 8, 4
"""What is measured at first beside the operating points: prefixes of the growth order, and specs drawn at random."""
HOPE = 1.0
"""How many standard deviations above its mean a spec is taken for while the predictor breeds candidates."""
USEFUL = 0.2
"""Where no bound is given: a subnet worse than the best by more than this share is not worth its place."""
TRIES = 100


@STRATEGIES.register("guided", source="ours; NSGA-II on a predictor as in DyNAS-T (arXiv:2205.10358)", year=2022)
class Guided(Strategy):
    """NSGA-II on a predictor; what promises the largest gain of hypervolume is measured. The default."""

    name = "guided"

    def propose(self, done: Sequence[Trial], count: int) -> list[SubnetSpec]:
        """Return the opening, then those of the predictor's candidates that promise most, a round at a time."""
        if not done:
            return self._opening()
        numbers = as_numbers(self.problem.space, [trial.spec for trial in done])
        scores = np.array([trial.score for trial in done])
        stretch = Stretch.over(scores)
        predictor = Predictor.learn(numbers, stretch.to_target(scores))
        return self._most_promising(done, self._candidates(done, predictor), (predictor, stretch), count)

    def _opening(self) -> list[SubnetSpec]:
        problem, goal = self.problem, self.problem.goal
        generator = torch.Generator().manual_seed(problem.seed)
        specs = [*problem.known, *prefixes(problem.order, goal.cost_of, PREFIXES)]
        affordable = [spec for spec in dict.fromkeys(specs) if goal.affordable(spec)]
        drawn = (random_spec(problem.space, generator) for _ in range(TRIES * DRAWN))
        fresh = (spec for spec in drawn if goal.affordable(spec) and spec not in affordable)
        return list(dict.fromkeys([*affordable, *(spec for spec, _ in zip(fresh, range(DRAWN), strict=False))]))

    def _candidates(self, done: Sequence[Trial], predictor: Predictor) -> list[SubnetSpec]:
        """Return what NSGA-II breeds on the predictor from the front, and the front's own neighbours."""
        best = [trial.spec for trial in front(done)]
        evolution = Evolution(self.problem, self.problem.seed * 100_003 + len(done), best)
        bred: list[SubnetSpec] = []
        while len(bred) < self.problem.effort and (asked := evolution.ask(POPULATION)):
            means, spreads = predictor.predict(as_numbers(self.problem.space, asked))
            for spec, score in zip(asked, means + HOPE * spreads, strict=True):
                evolution.tell(spec, float(score))
            bred += asked
        near = [other for spec in best for other in neighbours(self.problem.space, spec)]
        measured = {trial.spec for trial in done}
        affordable = self.problem.goal.affordable
        return [spec for spec in dict.fromkeys([*bred, *near]) if spec not in measured and affordable(spec)]

    def _most_promising(
        self, done: Sequence[Trial], specs: list[SubnetSpec], model: tuple[Predictor, Stretch], count: int
    ) -> list[SubnetSpec]:
        """Return the specs of largest expected gain, each chosen as if those before had come out as predicted."""
        predictor, stretch = model
        goal, area, chosen = self.problem.goal, self._area(done), list[SubnetSpec]()
        costs, numbers = np.array([goal.cost_of(spec) for spec in specs]), as_numbers(self.problem.space, specs)
        believed = list(done)
        free = np.ones(len(specs), dtype=bool)
        while len(chosen) < count and free.any():
            means, spreads = predictor.predict(numbers)
            gains = area.expected_gains(believed, costs, means, spreads, stretch.to_score)
            place = int(np.argmax(np.where(free, gains, -1.0)))
            free[place] = False
            chosen.append(specs[place])
            score = float(stretch.to_score(means[place : place + 1])[0])
            believed.append(Trial(specs[place], float(costs[place]), goal.score(score), score))
            predictor = predictor.believe(numbers[place], float(means[place]))
        return chosen

    def _area(self, done: Sequence[Trial]) -> Area:
        """Return the part of the plane that counts: within the bounds, and no worse than is of use."""
        goal, space = self.problem.goal, self.problem.space
        best = max(trial.score for trial in done)
        least = best - USEFUL * abs(best) if goal.worst is None else goal.score(goal.worst)
        most = goal.most if goal.most is not None else max(goal.cost_of(space.full), *(trial.cost for trial in done))
        return Area(min(goal.cost_of(space.smallest), *(trial.cost for trial in done)), most, least)
