"""Bounds of a search: made into a goal, and refused when nothing can be within them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from concertina.errors import BudgetError
from concertina.measure.time_cache import latency_model
from concertina.search.family import Searchable
from concertina.search.goal import Goal, Trial
from concertina.search.options import SearchSettings
from concertina.train import Reporter
from concertina.types import SubnetSpec

UNITS = {"macs": "MACs", "latency_ms": "ms"}


def goal_of(family: Searchable, settings: SearchSettings, progress: Reporter | None = None) -> Goal:
    """Return what a search is after; the latency table of this machine is measured where it is needed and not known.

    Raises:
        BudgetError: The smallest subnet costs more than is allowed; the text names what it costs.
    """
    costs, worst = family.supernet.costs, settings.min_accuracy
    metric = family.task.metric
    if settings.latency_ms is None:
        goal = Goal(metric, "macs", costs.macs, settings.macs, worst)
    else:
        model = latency_model(
            family.supernet.module,
            call_inputs(family, settings),
            family.supernet.space,
            network=family.core.fingerprint,
            threads=settings.threads,
            progress=progress,
        )
        goal = Goal(metric, "latency_ms", model.milliseconds, settings.latency_ms, worst, costs.macs, settings.macs)
    smallest = family.supernet.space.smallest
    _check_reachable("macs", settings.macs, costs.macs(smallest), "")
    _check_reachable("latency_ms", settings.latency_ms, goal.cost_of(smallest), " by the latency table")
    return goal


def call_inputs(family: Searchable, settings: SearchSettings) -> tuple[Tensor, ...]:
    """Return what a call computes on, (batch, ...) each, made of the rows of the core's example inputs."""
    rows = torch.arange(settings.batch)
    return tuple(tensor[rows % len(tensor)].contiguous() for tensor in family.core.example_inputs)


def _check_reachable(name: str, most: float | None, least: float, how: str) -> None:
    if most is not None and least > most:
        raise BudgetError(
            f"no subnet fits {name}={most:g}",
            allowed=f"{least:,.4g} {UNITS[name]} or more (the smallest subnet{how})",
        )


def refuse_unmet(goal: Goal, trials: Sequence[Trial], names: dict[SubnetSpec, str]) -> BudgetError:
    """Return the error for bounds that nothing measured is within, naming the best that was reached.

    Args:
        goal: With its bounds.
        trials: Everything measured.
        names: Specs that are operating points already.
    """
    unit, metric = UNITS[goal.cost_name], goal.metric.name
    found = []
    affordable = [trial for trial in trials if goal.affordable(trial.spec)]
    good = [trial for trial in trials if goal.worst is None or trial.score >= goal.score(goal.worst)]
    if affordable:
        best = max(affordable, key=lambda trial: trial.score)
        found.append(f"{metric} {best.value:.4f} within the bounds on cost ({best.cost:,.4g} {unit})")
    if good:
        least = min(good, key=lambda trial: trial.cost)
        known = f", point {names[least.spec]!r}" if least.spec in names else ""
        found.append(f"{least.cost:,.4g} {unit} at {metric} {least.value:.4f}{known}")
    return BudgetError(
        f"none of {len(trials)} subnets measured is within all bounds",
        asked=_asked(goal),
        allowed=" or ".join(found),
        do="Loosen a bound, or go on with --resume and more --trials.",
    )


def _asked(goal: Goal) -> str:
    parts = []
    if goal.worst is not None:
        parts.append(f"{goal.metric.name} {goal.worst:g}")
    if goal.most is not None:
        parts.append(f"{goal.most:,.4g} {UNITS[goal.cost_name]}")
    if goal.most_macs is not None:
        parts.append(f"{goal.most_macs:,.4g} MACs")
    return " with ".join(parts)
