"""Training on random specs of the whole space: where they come from, what they change, what they are good for."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch
from tests.train.test_recipes import SETTINGS, case, digits, state, supernet

import concertina as ct
from concertina.errors import InputError, TrainingError
from concertina.nest import inherited_private, random_spec
from concertina.train import RECIPES, Trainer, calibrate, train


def test_random_specs_come_from_the_whole_space() -> None:
    made, generator = supernet(), torch.Generator().manual_seed(0)
    specs = [random_spec(made.space, generator) for _ in range(400)]
    for dim in made.space.dims:
        assert {spec[dim.name] for spec in specs} == set(dim.choices)
    costs = [made.costs.macs(spec) / made.costs.macs(made.space.full) for spec in specs]
    assert min(costs) < 0.1
    assert max(costs) > 0.8


def test_any_combination_may_be_drawn() -> None:
    made, generator = supernet(), torch.Generator().manual_seed(0)
    one, other = [dim for dim in made.space.dims if not dim.is_gate and not dim.needs][:2]
    drawn = [random_spec(made.space, generator) for _ in range(2000)]
    corners = {(spec[one.name] == one.choices[0], spec[other.name] == other.choices[0]) for spec in drawn}
    assert corners == {(True, True), (True, False), (False, True), (False, False)}
    assert any(spec[one.name] == one.choices[0] and spec[other.name] == other.original for spec in drawn)


def test_random_specs_stay_within_a_spec_they_are_given() -> None:
    space, generator = supernet().space, torch.Generator().manual_seed(0)
    for _ in range(100):
        within = random_spec(space, generator)
        spec = random_spec(space, generator, within=within)
        assert all(spec[dim.name] <= within[dim.name] for dim in space.dims)


def test_every_recipe_takes_random_specs_or_refuses_them_by_name() -> None:
    refused = []
    for recipe in RECIPES.names():
        made = supernet()
        try:
            trainer = Trainer(made, case()[2], steps=8, recipe=recipe, settings=replace(SETTINGS, random_specs=1))
        except InputError as error:
            refused.append((recipe, str(error)))
            continue
        train(trainer, digits(128), recipe=recipe)
        assert trainer.macs_spent == trainer.expected_macs() > 0
    assert [recipe for recipe, _ in refused] == ["prune-and-grow"]
    assert "option random_specs: got 1 with recipe 'prune-and-grow'" in refused[0][1]
    assert "0, or recipes fixed-list, label-free" in refused[0][1]


def test_fit_refuses_wrong_counts_and_recipes_without_room() -> None:
    with pytest.raises(InputError, match="option random_specs: got -1; allowed: 0 to 64"):
        ct.fit(case()[0], digits(), random_specs=-1)
    with pytest.raises(InputError, match="option random_specs: got 2 with recipe 'prune-and-grow'"):
        ct.fit(case()[0], digits(), random_specs=2, recipe="prune-and-grow")


def test_statistics_of_the_full_network_stay_those_of_its_own_passes() -> None:
    made = supernet()
    trainer = Trainer(made, case()[2], steps=1, settings=replace(SETTINGS, random_specs=3))
    trainer.step(digits(32).tensors)
    plain = supernet()
    Trainer(plain, case()[2], steps=1, settings=SETTINGS).step(digits(32).tensors)
    moving = [name for name in state(made) if name.endswith(("running_mean", "running_var"))]
    assert moving
    assert [name for name in moving if not torch.equal(state(made)[name], state(plain)[name])] == []


def test_a_random_spec_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made, task = supernet(), case()[2]
    trainer = Trainer(made, task, steps=1, settings=replace(SETTINGS, random_specs=1))
    calls = []

    def distill(outputs: torch.Tensor, _teacher: object, _batch: object) -> torch.Tensor:
        calls.append(outputs)
        return outputs.mean() * (float("nan") if len(calls) == len(made.points) else 1.0)

    monkeypatch.setattr(task, "distill", distill, raising=False)
    with pytest.raises(TrainingError, match=r"the loss of random spec \w+ is not finite at step 0"):
        trainer.step(digits(32).tensors)


def accuracies(random_specs: int, count: int) -> list[float]:
    """Train on 256 samples for 40 steps and return the accuracy of random specs, each with statistics of its own."""
    made, task, generator = supernet(), case()[2], torch.Generator().manual_seed(5)
    settings = replace(SETTINGS, random_specs=random_specs)
    train(Trainer(made, task, steps=40, settings=settings), digits(256), recipe="sandwich")
    inputs, labels = digits(512).tensors
    found = []
    for _ in range(count):
        spec = random_spec(made.space, generator)
        private = calibrate(made, spec, inherited_private(made, spec), task, [(inputs[:256], labels[:256])])
        found.append(float((made.subnet(spec, private)(inputs[256:]).argmax(1) == labels[256:]).float().mean()))
    return found


def test_subnets_far_from_points_are_better_where_training_met_such() -> None:
    plain, whole = accuracies(0, 10), accuracies(2, 10)
    assert statistics.mean(whole) > statistics.mean(plain) + 0.1
