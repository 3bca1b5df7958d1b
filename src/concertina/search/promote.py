"""From trials to operating points: which are worth keeping, how fast they really are, and what they are called."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from concertina.load.data import TensorData
from concertina.measure.latency import LatencyResult, latency, module_runner
from concertina.search.bounds import call_inputs
from concertina.search.family import Searchable
from concertina.search.front import Area, front
from concertina.search.goal import Goal, Trial
from concertina.search.options import SearchSettings
from concertina.types import Point, Record, SubnetSpec

log = logging.getLogger("concertina")

SPARE = 2
"""Candidates for each point wanted whose latency is really measured: some may turn out too slow."""


@dataclass(frozen=True)
class Chosen:
    """A trial worth keeping, with its latency where that was asked for."""

    trial: Trial
    latency: LatencyResult | None = None


def choose(family: Searchable, goal: Goal, trials: Sequence[Trial], settings: SearchSettings) -> list[Chosen]:
    """Return the trials to keep: within all bounds, and of the most use beside the points there are.

    With a bound on latency, candidates are timed for real, and those that turn out too slow are left out.
    """
    known = {point.spec for point in family.points}
    accepted = [trial for trial in trials if goal.accepts(trial)]
    new = [trial for trial in front(accepted) if trial.spec not in known]
    if settings.latency_ms is None:
        return [Chosen(trial) for trial in _most_useful(new, accepted, known, settings.points)]
    wanted = _most_useful(new, accepted, known, SPARE * settings.points)
    timed = _timed(family, wanted, settings)
    fast = [chosen for chosen in timed if _is_fast(chosen, settings.latency_ms)]
    return fast[: settings.points]


def _most_useful(new: Sequence[Trial], accepted: Sequence[Trial], known: set[SubnetSpec], count: int) -> list[Trial]:
    """Return up to `count` new trials, at each turn the one that adds most area; the best score comes first."""
    if not new:
        return []
    costs, scores = [trial.cost for trial in accepted], [trial.score for trial in accepted]
    span = max(scores) - min(scores) or 1.0
    area = Area(min(costs), max(costs) * 1.001, min(scores) - 0.01 * span)
    held = [trial for trial in accepted if trial.spec in known]
    chosen = [max(new, key=lambda trial: trial.score)]
    left = [trial for trial in new if trial not in chosen]
    while left and len(chosen) < count:
        best = max(left, key=lambda trial: area.covered([*held, *chosen, trial]))
        left.remove(best)
        chosen.append(best)
    return chosen


def _timed(family: Searchable, trials: Sequence[Trial], settings: SearchSettings) -> list[Chosen]:
    if not trials:
        return []
    inputs = call_inputs(family, settings)
    runners = {trial.spec.digest: module_runner(family.supernet.subnet(trial.spec), *inputs) for trial in trials}
    timed = latency(runners, threads=settings.threads, batch=settings.batch)
    return [Chosen(trial, timed[trial.spec.digest]) for trial in trials]


def _is_fast(chosen: Chosen, most_ms: float) -> bool:
    if chosen.latency is None or chosen.latency.median_ms <= most_ms:
        return True
    log.info(
        "subnet %s was predicted to take %.4g ms and takes %.4g ms: left out",
        chosen.trial.spec.digest,
        chosen.trial.cost,
        chosen.latency.median_ms,
    )
    return False


def promote(
    family: Searchable, chosen: Sequence[Chosen], data: tuple[TensorData, TensorData], seed: int
) -> list[Point]:
    """Make trials operating points of the family, calibrated, measured and with their Records.

    Args:
        family: The family; it is changed.
        chosen: From `choose`.
        data: Data to calibrate on, and to measure on.
        seed: Of the search, for the Records.
    """
    kept = []
    for one in sorted(chosen, key=lambda one: one.trial.cost):
        spec = one.trial.spec
        name = _name(family, spec_share(family, one.trial))
        point = family.keep(spec, calibrate=data[0], validation=data[1], name=name)
        if one.latency is not None:
            predicted = Record(
                spec.text, "latency_ms_predicted", one.trial.cost, "ms", scope=one.latency.scope, seed=seed
            )
            family.add_records([*one.latency.to_records(spec.text), predicted])
        kept.append(point)
    return kept


def spec_share(family: Searchable, trial: Trial) -> float:
    """Return the MACs of a trial's subnet as a share of the full network's."""
    costs = family.supernet.costs
    return costs.macs(trial.spec) / costs.macs(family.supernet.space.full)


def _name(family: Searchable, share: float) -> str:
    """Return a name by the share of the MACs that no point has: "s12" or, where that is taken, "s12.4"."""
    taken = {point.name for point in family.points}
    names = (f"s{float(f'{100 * share:.{digits}g}'):g}" for digits in range(2, 12))
    return next((name for name in names if name not in taken), f"s{100 * share!r}")
