"""Random search: the yardstick."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from concertina.nest import random_spec
from concertina.search.goal import Trial
from concertina.search.strategy import STRATEGIES, Strategy
from concertina.train import step_seed
from concertina.types import SubnetSpec

TRIES = 1000
"""Draws for each spec wanted; in a space that is nearly used up or hardly affordable, fewer specs come back."""


@STRATEGIES.register("random", source="Bergstra and Bengio 2012, Random search (JMLR 13)", year=2012)
class RandomSearch(Strategy):
    """Draws small, middling and large specs alike and learns nothing: the yardstick of the others."""

    name = "random"

    def propose(self, done: Sequence[Trial], count: int) -> list[SubnetSpec]:
        """Return specs that were not drawn before."""
        generator = torch.Generator().manual_seed(step_seed(self.problem.seed, len(done), "random search"))
        seen, found = {trial.spec for trial in done}, list[SubnetSpec]()
        for _ in range(TRIES * count):
            if len(found) == count:
                break
            spec = random_spec(self.problem.space, generator)
            if spec not in seen and self.problem.goal.affordable(spec):
                seen.add(spec)
                found.append(spec)
        return found
