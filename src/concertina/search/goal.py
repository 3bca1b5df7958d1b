"""What a search is after: a figure to raise, a cost to save, and bounds on both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from concertina.objective.base import Metric
from concertina.types import SubnetSpec


@dataclass(frozen=True)
class Trial:
    """One subnet that was calibrated and measured."""

    spec: SubnetSpec
    cost: float
    """In the unit of the goal."""
    value: float
    """The task's metric on the held-out data."""
    score: float
    """The metric with its sign turned where less is better."""


@dataclass(frozen=True)
class Goal:
    """Two goals and their bounds; costs are computed, the metric has to be measured."""

    metric: Metric
    cost_name: str
    """"macs" or "latency_ms"."""
    cost_of: Callable[[SubnetSpec], float]
    most: float | None = None
    """Largest cost allowed."""
    worst: float | None = None
    """Worst value of the metric allowed."""
    macs_of: Callable[[SubnetSpec], float] | None = None
    most_macs: float | None = None
    """Largest MACs allowed beside a bound on the cost."""

    def score(self, value: float) -> float:
        """Return a value of the metric with its sign turned where less is better."""
        return value if self.metric.direction == "max" else -value

    def affordable(self, spec: SubnetSpec) -> bool:
        """Return whether the costs of `spec` are within the bounds."""
        if self.most is not None and self.cost_of(spec) > self.most:
            return False
        return self.most_macs is None or self.macs_of is None or self.macs_of(spec) <= self.most_macs

    def accepts(self, trial: Trial) -> bool:
        """Return whether a measured subnet is within all bounds."""
        good = self.worst is None or trial.score >= self.score(self.worst)
        return good and self.affordable(trial.spec)

    def trial(self, spec: SubnetSpec, value: float) -> Trial:
        """Return what was measured of `spec`."""
        return Trial(spec, self.cost_of(spec), value, self.score(value))
