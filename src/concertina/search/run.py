"""Search: from a family and data to new operating points."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

from concertina.errors import DataError
from concertina.load import fingerprint
from concertina.load.data import TensorData, as_data, check_fits
from concertina.search.bounds import goal_of, refuse_unmet
from concertina.search.evaluate import Evaluator, evaluator, fingerprints, halves
from concertina.search.executor import EXECUTORS, Executor
from concertina.search.family import Searchable
from concertina.search.front import front
from concertina.search.goal import Goal, Trial
from concertina.search.journal import Journal
from concertina.search.options import SearchOptions, SearchSettings, check_metric, search_settings
from concertina.search.promote import choose, promote
from concertina.search.strategy import STRATEGIES, Problem
from concertina.search.study import Study
from concertina.train import Reporter
from concertina.types import Point

log = logging.getLogger("concertina")


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    points: tuple[Point, ...]
    """New operating points of the family, smallest first."""
    trials: tuple[Trial, ...]
    """Everything measured, in order."""
    goal: Goal
    """What was sought."""

    @property
    def front(self) -> list[Trial]:
        """The trials that no other beats in both goals, cheapest first."""
        return front(self.trials)


def search(
    family: Searchable,
    data: Any,
    *,
    calibrate: Any = None,
    validation: Any = None,
    progress: Reporter | None = None,
    **options: Unpack[SearchOptions],
) -> SearchResult:
    """Search the whole space of a family for subnets better than its points, and make the best of them points.

    Each trial is a real one: the subnet gets statistics of its own and is measured on held-out samples. A predictor
    learns from the trials so far and looks at hundreds of specs for each that is tried.

    Args:
        family: The family; accepted subnets become points of it (save it to keep them).
        data: Held-out data that trials are measured on, as `fit` takes data. Without `calibrate` half of it is used
            for the statistics and the other half to measure on.
        calibrate: Training data for the statistics.
        validation: Fresh data that the new points are measured on. Without it their figures are those they were
            chosen by, which flatter them.
        progress: Told now and then where the run stands.
        **options: See `SearchOptions`: latency_ms=, macs=, min_accuracy=, trials=120, points=3, seed=0, journal=,
            resume= and more.

    Returns:
        The new points, and everything that was measured. There may be none: then no subnet was found that is within
        the bounds and that the points there are do not beat.

    Raises:
        BudgetError: No subnet is within the bounds; the text names the best that can be or was reached.
        InputError: An option is unknown or wrong.
        DataError: The data does not fit the network.
        ResumeError: The journal is of another search.
        ExtraError: Optuna is not installed.
    """
    settings = search_settings(options)
    check_metric(settings, family.task.metric)
    parts = _data(family, data, calibrate, settings.seed)
    fresh = parts[1] if validation is None else _taken(family, validation)
    goal = goal_of(family, settings, progress)
    measure = evaluator(
        family.supernet, family.task, parts, (settings.calibration_samples, settings.samples), settings.seed
    )
    study = _study(family, settings, goal, measure)
    with EXECUTORS.get(settings.executor)(measure, settings.num_workers) as executor:
        study.run(executor.values, settings.trials, progress or (lambda _stage, _done: None))
        trials = [*study.trials, *_rivals(family, study, executor)]
    if not any(goal.accepts(trial) for trial in trials):
        raise refuse_unmet(goal, trials, {point.spec: point.name for point in family.points})
    chosen = choose(family, goal, trials, settings)
    points = promote(family, chosen, (parts[0], fresh), settings.seed)
    return SearchResult(tuple(points), tuple(study.trials), goal)


def _study(family: Searchable, settings: SearchSettings, goal: Goal, measure: Evaluator) -> Study:
    known = tuple(point.spec for point in family.points)
    problem = Problem(family.supernet.order, goal, known, settings.seed)
    strategy = STRATEGIES.get(settings.strategy)(problem)
    run = _description(family, settings, measure)
    return Study(strategy, Journal(settings.journal, run, resume=settings.resume))


def _rivals(family: Searchable, study: Study, executor: Executor) -> list[Trial]:
    """Return the operating points that the strategy left out, measured as its trials were; what is new must win."""
    tried = {trial.spec for trial in study.trials}
    specs = [point.spec for point in family.points if point.spec not in tried and study.goal.affordable(point.spec)]
    return [study.goal.trial(spec, value) for spec, value in zip(specs, executor.values(specs), strict=True)]


def _description(family: Searchable, settings: SearchSettings, measure: Evaluator) -> Mapping[str, object]:
    """Return what two runs must share for one to go on where the other stopped."""
    names = ("latency_ms", "batch", "threads", "macs", "min_accuracy", "seed", "strategy")
    return {
        **{name: getattr(settings, name) for name in names},
        "weights": fingerprint(family.supernet.module),
        "points": [point.spec.digest for point in family.points],
        "data": fingerprints([measure.calibration, measure.held_out]),
    }


def _data(family: Searchable, data: Any, calibrate: Any, seed: int) -> tuple[TensorData, TensorData]:
    """Return data to calibrate on and data to measure on."""
    held = _taken(family, data)
    if calibrate is None:
        return halves(held, seed)
    return _taken(family, calibrate), held


def _taken(family: Searchable, source: Any) -> TensorData:
    """Return data as tensors that the network and the task can use."""
    data = as_data(source, family.core.class_names)
    check_fits(data, family.core)
    if len(data) < 2:
        raise DataError("data for a search", asked=f"{len(data)} samples", allowed="2 or more")
    family.task.check([tensor[:1024] for tensor in data.tensors])
    return data
