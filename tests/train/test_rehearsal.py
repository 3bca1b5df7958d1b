"""The order that a rehearsal finds: repeatable, from a copy, and better for small networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.train.test_recipes import SETTINGS, state

import concertina as ct
from concertina.train.rehearsal import rehearsed_order

CORE = ct.load("zoo:mlp")
DATA = ct.open_data("zoo:digits@train", preprocess=CORE.preprocess).subset(torch.arange(256))


def test_a_rehearsal_is_repeatable_and_leaves_the_supernet_alone() -> None:
    ready, settings = ct.prepare(CORE, DATA, points=(0.5,), order="criterion"), replace(SETTINGS, epochs=8.0)
    made, task = ready.supernet, ready.task
    before = state(made)
    told: list[str] = []
    first = rehearsed_order(made, task, DATA, settings, lambda stage, _done: told.append(stage))
    assert [key for key, tensor in state(made).items() if not torch.equal(tensor, before[key])] == []
    assert rehearsed_order(made, task, DATA, settings).order == first.order
    assert rehearsed_order(made, task, DATA, replace(settings, seed=9)).order != first.order
    assert set(told) == {"rehearsing random subnets", "measuring what can go"}
    assert first.macs_spent > made.costs.macs(made.space.full) * len(DATA)


def test_several_rehearsals_start_anew_within_what_is_left() -> None:
    ready, settings = ct.prepare(CORE, DATA, points=(0.5,), order="criterion"), replace(SETTINGS, epochs=8.0)
    told: list[str] = []

    def tell(stage: str, _done: float) -> None:
        told.extend([stage] if told[-1:] != [stage] else [])

    one = rehearsed_order(ready.supernet, ready.task, DATA, settings)
    three = rehearsed_order(ready.supernet, ready.task, DATA, settings, tell, rehearsals=3)
    assert told == ["rehearsing random subnets", "measuring what can go"] * 3
    assert three.macs_spent > one.macs_spent
    assert sorted(three.order.steps) == sorted(one.order.steps)
    orders = [
        [rehearsed_order(ready.supernet, ready.task, DATA, each, rehearsals=n).order for n in (1, 5)]
        for each in (replace(settings, seed=seed) for seed in range(4))
    ]
    assert any(once != often for once, often in orders)
    assert ct.prepare(CORE, DATA, order="rehearsed", rehearsals=2, epochs=2.0).facts["rehearsals"] == "2"


@pytest.mark.parametrize(("epochs", "order"), [(3.0, "criterion"), (30.0, "rehearsed")])
def test_a_long_training_is_rehearsed_unless_said(epochs: float, order: str) -> None:
    given = {"points": (0.5,), "epochs": epochs, "batch_size": 32, "criterion": "magnitude-l2"}
    assert ct.prepare(CORE, DATA, **given).facts["order"] == order
    assert ct.prepare(CORE, DATA, order="criterion", **given).facts["order"] == "criterion"


@pytest.mark.slow
def test_a_rehearsed_order_makes_small_networks_better() -> None:
    core = ct.load("zoo:digits-cnn")
    data, held = (ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess) for part in ("train", "validation"))
    families = [ct.fit(core, data, held, points=(0.05, 0.1), epochs=10, order=o) for o in ("criterion", "rehearsed")]
    plain, rehearsed = ([dict(point.metrics)["accuracy"] for point in family.points] for family in families)
    assert rehearsed[0] > plain[0] + 0.05
    assert rehearsed[-1] > plain[-1] - 0.02
