"""What every strategy must do, and what the guided one is for."""

from __future__ import annotations

import statistics

import pytest
from tests.search.subjects import SPACE, growth, macs, measured, searched, study

from concertina.objective.base import Metric
from concertina.search import STRATEGIES, Area, Goal, Journal, Problem, Study, Trial
from concertina.types import Dim, GrowthOrder, Member, Space


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_proposals_are_canonical_affordable_new_and_the_same_for_equal_seeds(name: str) -> None:
    trials = searched(name, 28, seed=3, most=5000.0)
    specs = [trial.spec for trial in trials]
    assert len(set(specs)) == len(specs) == 28
    assert all(SPACE.check(spec) == spec and macs(spec) <= 5000 for spec in specs)
    assert searched(name, 28, seed=3, most=5000.0) == trials
    assert searched(name, 28, seed=4, most=5000.0) != trials


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_a_space_that_is_used_up_ends_the_search(name: str) -> None:
    dims = tuple(Dim(f"width:{i}", "width", str(i), (1, 2, 4), (Member("w", 0, "out"),)) for i in range(2))
    space = Space(dims)
    goal = Goal(Metric("accuracy", "max"), "macs", lambda spec: float(spec["width:0"] * spec["width:1"]))
    made = Study(STRATEGIES.get(name)(Problem(GrowthOrder(space, (0, 1, 0, 1)), goal)), Journal(None, {}))
    made.run(lambda specs: (spec["width:0"] / 10 for spec in specs), 1000, lambda _stage, _done: None)
    assert len(made.trials) == 9


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_a_metric_where_less_is_better_is_lowered(name: str) -> None:
    goal = Goal(Metric("perplexity", "min", "tokens"), "macs", macs)
    made = Study(STRATEGIES.get(name)(Problem(growth(), goal)), Journal(None, {}))
    made.run(lambda specs: (30 - 20 * value for value in measured(specs)), 30, lambda _stage, _done: None)
    values = [trial.value for trial in made.front]
    assert values == sorted(values, reverse=True)
    assert values[-1] == min(trial.value for trial in made.trials)


def test_the_guided_strategy_needs_a_quarter_of_the_evaluations_of_random_search() -> None:
    area = Area(macs(SPACE.smallest), macs(SPACE.full), 0.75)

    def needed(trials: list[Trial], wanted: float) -> int:
        return next(i for i in range(1, len(trials) + 1) if area.covered(trials[:i]) >= wanted)

    ratios = []
    for seed in range(3):
        drawn = searched("random", 600, seed)
        ratios.append(600 / needed(searched("guided", 60, seed), area.covered(drawn)))
    assert statistics.median(ratios) >= 10


def test_ask_and_tell_serve_a_loop_of_ones_own() -> None:
    made = study("guided")
    asked = made.ask()
    assert made.ask() == asked
    for spec, value in zip(asked, measured(asked), strict=True):
        made.tell(spec, value)
    following = made.ask()
    assert following
    assert not set(following) & set(asked)
