"""The one shape of a strategy: from what was measured to what should be measured next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from concertina.registry import Registry
from concertina.search.extras import needed
from concertina.search.goal import Goal, Trial
from concertina.types import GrowthOrder, Space, SubnetSpec


@dataclass(frozen=True)
class Problem:
    """What a strategy works on; it measures nothing itself."""

    order: GrowthOrder
    goal: Goal
    known: tuple[SubnetSpec, ...] = ()
    """Specs of operating points, smallest first."""
    seed: int = 0
    effort: int = 240
    """How many candidates the predictor looks at for each round."""

    @property
    def space(self) -> Space:
        """All dims."""
        return self.order.space


class Strategy(ABC):
    """Proposes specs to measure. Equal problems and equal trials give equal proposals."""

    name: str

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @abstractmethod
    def propose(self, done: Sequence[Trial], count: int) -> list[SubnetSpec]:
        """Return the next round: affordable specs that are not among `done`, none when there are no more.

        Args:
            done: Everything measured so far, whole rounds, in the order in which it was proposed.
            count: How many a round has; the first may have more.
        """


STRATEGIES: Registry[type[Strategy]] = Registry("search strategy")


def need_optuna() -> ModuleType:
    """Return Optuna, made to say nothing.

    Raises:
        ExtraError: It is not installed.
    """
    optuna = needed("optuna", "search", "search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
