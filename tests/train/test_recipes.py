"""Recipes, by what each promises: who teaches whom, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

import concertina as ct
from concertina.analyse import analyse
from concertina.errors import DataError
from concertina.load.data import TensorData
from concertina.measure.cost import CostModel
from concertina.nest import Supernet, choose_points, named_tensors, nest
from concertina.objective.base import TASKS, Task
from concertina.score import score
from concertina.train import RECIPES, Lesson, Phase, Recipe, Trainer, TrainSettings, train
from concertina.train.loop import num_steps
from concertina.train.press import left_out, press
from concertina.types import Core, Graph

SETTINGS = TrainSettings(epochs=1, batch_size=32, learning_rate=0.05, seed=3)


@cache
def case() -> tuple[Core, Graph, Task]:
    core = ct.load("zoo:digits-cnn")
    return core, analyse(core), TASKS.get("classification")(core.class_names)  # type: ignore[call-arg]


def digits(count: int = 256) -> TensorData:
    core, _, _ = case()
    return ct.open_data("zoo:digits@train", preprocess=core.preprocess).subset(torch.arange(count))


def supernet() -> Supernet:
    core, graph, task = case()
    made = nest(core, graph, score(core, graph, task, [], criterion="magnitude-l2"), CostModel.of)
    choose_points(made, (0.1, 0.3, 0.6))
    return made


def state(made: Supernet) -> dict[str, Tensor]:
    found = {name: tensor.detach().clone() for name, tensor in named_tensors(made.module).items()}
    for point, tensors in made.private.items():
        found |= {f"{point}/{name}": tensor.detach().clone() for name, tensor in tensors.items()}
    return found


def trained(recipe: str, data: TensorData, settings: TrainSettings = SETTINGS) -> Supernet:
    made = supernet()
    trainer = Trainer(made, case()[2], steps=max(8, num_steps(data, settings)), recipe=recipe, settings=settings)
    train(trainer, data, recipe=recipe)
    return made


def relabelled(data: TensorData) -> TensorData:
    return TensorData((data.tensors[0], (data.tensors[1] + 3) % 10), data.class_names)


@pytest.mark.parametrize("recipe", RECIPES.names())
def test_recipes_say_truly_whether_they_need_labels(recipe: str) -> None:
    data = digits(96)
    same = all(
        torch.equal(a, b)
        for a, b in zip(
            state(trained(recipe, data)).values(), state(trained(recipe, relabelled(data))).values(), strict=True
        )
    )
    assert same != RECIPES.get(recipe)().needs_labels


def test_fixed_list_runs_every_point_at_each_step_and_nothing_else() -> None:
    made, data = supernet(), digits(32)
    trainer = Trainer(made, case()[2], steps=2, recipe="fixed-list", settings=SETTINGS)
    trainer.step(data.tensors)
    assert trainer.macs_spent == 32 * 3 * sum(point.macs for point in made.points.values())


def test_label_free_counts_the_core_s_passes() -> None:
    made, data = supernet(), digits(32)
    trainer = Trainer(made, case()[2], steps=2, recipe="label-free", settings=SETTINGS)
    trainer.step(data.tensors)
    full = made.points["p100"].macs
    assert trainer.macs_spent == 32 * (full + 3 * sum(point.macs for point in made.points.values()))


def test_low_churn_stays_nearer_to_the_core_than_labels_do() -> None:
    core, _, _ = case()
    noisy, held = relabelled(digits(512)), digits(512).tensors[0]
    reference = core.module(held).argmax(1)
    changed = {
        recipe: float((trained(recipe, noisy).at_point("p60")(held).argmax(1) != reference).float().mean())
        for recipe in ("low-churn", "fixed-list")
    }
    assert changed["low-churn"] < 0.5 * changed["fixed-list"]


def test_sparse_first_empties_what_smaller_points_leave_out() -> None:
    made, data = supernet(), digits(32)
    before = [(tensor * share).norm() for tensor, share in left_out(made)]
    trainer = Trainer(made, case()[2], steps=40, recipe="sparse-first", settings=replace(SETTINGS, learning_rate=1e-6))
    while trainer.phase.press:
        trainer.step(data.tensors)
    after = [(tensor * share).norm() for tensor, share in left_out(made)]
    kept = torch.stack(after) / torch.stack(before).clamp_min(1e-9)
    assert float(kept.max()) < 0.5
    assert trainer.position == 10


def test_a_press_takes_off_what_it_says_and_spares_the_smallest_point() -> None:
    made = supernet()
    small = {name: tensor.clone() for name, tensor in made.at_point("p10").named_parameters() if "norm" not in name}
    pairs = left_out(made)
    whole = [tensor.clone() for tensor, _ in pairs]
    press(pairs, 0.25)
    for (tensor, share), old in zip(pairs, whole, strict=True):
        assert torch.allclose(tensor, old * (1 - 0.25 * share))
        assert 0 <= float(share.min()) <= float(share.max()) <= 1
    now = dict(made.at_point("p10").named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in small.items())


def test_a_recipe_of_one_s_own_takes_its_weights_from_its_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quiet(Recipe):
        """The full point learns from nothing but the core, at weight 0.5."""

        name = "quiet"

        def phases(self, points: object, epochs: float) -> list[Phase]:
            return [Phase("quiet", epochs, lambda _generator: ("p100",), Lesson(core=0.5))]

    monkeypatch.setattr(RECIPES, "_entries", dict(RECIPES._entries))
    RECIPES.register("quiet", source="test")(Quiet)
    trainer = Trainer(supernet(), case()[2], steps=1, recipe="quiet", settings=replace(SETTINGS, distill_weight=4.0))
    whole = Trainer(supernet(), case()[2], steps=1, recipe="label-free", settings=replace(SETTINGS, distill_weight=2.0))
    assert trainer.step(digits(32).tensors) == pytest.approx(whole.step(digits(32).tensors))


def test_a_pass_sees_statistics_that_were_replaced_between_steps() -> None:
    made, data = supernet(), digits(32)
    trainer = Trainer(made, case()[2], steps=4, settings=SETTINGS)
    trainer.step(data.tensors)
    private = made.private["p10"]
    name = next(name for name in private if name.endswith("running_mean"))
    private[name] = torch.zeros_like(private[name])
    trainer.step(data.tensors)
    assert bool(private[name].any())


def test_images_alone_are_enough_for_a_recipe_without_labels() -> None:
    core, _, _ = case()
    images = [(digits(512).tensors[0],)]
    with pytest.raises(DataError, match="learns from labels, and the data has none"):
        ct.fit(core, images, points=(0.3,), epochs=1)
    family = ct.fit(core, images, digits(64), points=(0.4,), epochs=4, batch_size=32, recipe="label-free")
    accuracy = {point.name: dict(point.metrics)["accuracy"] for point in family.points}
    assert accuracy["p100"] > 0.9
    assert accuracy["p40"] > 0.6


def test_churn_is_measured_against_the_core_and_zero_for_the_core_itself() -> None:
    core, _, _ = case()
    family = ct.fit(core, digits(160), digits(64), points=(0.3,), epochs=0, criterion="magnitude-l2")
    churns = {r.spec: r for r in family.records if r.metric == "churn"}
    predictions = core.module(digits(64).tensors[0]).argmax(1)
    for point in family.points:
        record, own = churns[point.spec.text], family.view(point.name)(digits(64).tensors[0]).argmax(1)
        assert record.value == float((own != predictions).double().mean())
        assert record.low is not None
        assert record.high is not None
        assert record.low <= record.value <= record.high
        assert record.n == 64
