"""What training costs: told before the first step, in MACs, and what it came to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.train.test_recipes import SETTINGS, case, digits, supernet

import concertina as ct
from concertina.errors import InputError
from concertina.nest import choose_points
from concertina.objective.similarity import Similarity
from concertina.train import RECIPES, Trainer, TrainSettings, num_steps, plan, train

VARIANTS = {
    "plain": SETTINGS,
    "core teaches the full point": replace(SETTINGS, full_from_core=1.0),
    "points join one by one": replace(SETTINGS, shrink_share=0.5),
    "random specs": replace(SETTINGS, random_specs=2, shrink_share=0.3),
    "core teaches half": replace(SETTINGS, distill_weight=0.5),
}


def trainer_of(recipe: str, settings: TrainSettings, steps: int, shares: tuple[float, ...] = ()) -> Trainer:
    made = supernet()
    if shares:
        made.points, made.private = {}, {}
        choose_points(made, shares)
    return Trainer(made, case()[2], steps=steps, recipe=recipe, settings=settings)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("recipe", RECIPES.names())
def test_the_cost_told_beforehand_is_the_cost(recipe: str, settings: TrainSettings) -> None:
    data = digits()
    if recipe == "prune-and-grow" and settings.random_specs:
        pytest.skip("this recipe takes no random specs")
    trainer = trainer_of(recipe, settings, steps=14, shares=(0.05, 0.1, 0.2, 0.3, 0.6))
    expected = trainer.expected_macs()
    train(trainer, data, recipe=recipe)
    assert expected == trainer.macs_spent > 0
    assert expected == trainer.expected_macs()


def test_data_smaller_than_a_batch_is_foreseen() -> None:
    said: list[str] = []
    data = digits(20)
    trainer = trainer_of("sandwich", SETTINGS, steps=num_steps(data, replace(SETTINGS, epochs=3)))
    train(trainer, data, recipe="sandwich", progress=lambda stage, _done: said.append(stage))
    assert trainer.expected_macs(20) == trainer.macs_spent
    assert said[0] == f"3 training steps will cost {trainer.macs_spent:.3g} MACs (backward and teacher passes included)"


def test_a_long_run_is_foreseen_within_a_percent_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of("sandwich", SETTINGS, steps=3000, shares=(0.05, 0.1, 0.2, 0.3, 0.6))
    exact = trainer.expected_macs()
    monkeypatch.setattr(plan, "EXACT_STEPS", 400)
    assert trainer.expected_macs() == pytest.approx(exact, rel=0.01)
    assert trainer.expected_macs() != exact


def test_a_recipe_left_without_its_only_teacher_is_refused() -> None:
    with pytest.raises(InputError, match="'label-free' has nothing to learn from but the core: got distill_weight=0"):
        trainer_of("label-free", replace(SETTINGS, distill_weight=0.0), steps=9)
    trainer = trainer_of("prune-and-grow", replace(SETTINGS, distill_weight=0.0), steps=9)
    expected = trainer.expected_macs()
    train(trainer, digits(), recipe="prune-and-grow")
    assert expected == trainer.macs_spent


def test_both_sides_of_a_pair_are_counted() -> None:
    made, images = supernet(), digits(64).tensors[0]
    trainer = Trainer(made, Similarity(), steps=1, recipe="label-free", settings=SETTINGS)
    trainer.step((images[:32], images[32:], torch.rand(32)))
    assert trainer.expected_macs(32) == trainer.macs_spent


def test_fit_tells_the_cost_before_the_first_step_and_keeps_it_beside_what_was_spent() -> None:
    said: list[str] = []
    core, _, _ = case()
    family = ct.fit(
        core, digits(), points=(0.3,), epochs=2, criterion="magnitude-l2", progress=lambda s, _: said.append(s)
    )
    told = next(place for place, stage in enumerate(said) if "MACs" in stage)
    assert told < said.index("training (sandwich)")
    kept = family.evidence.provenance
    assert kept["training MACs"] == kept["training MACs expected"]
    assert f"{kept['training steps']} training steps will cost {float(kept['training MACs']):.3g} MACs" in said[told]
