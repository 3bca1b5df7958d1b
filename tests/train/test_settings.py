"""Settings of training, each alone: what it changes, and that a stopped run still ends as one never stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.train.interrupt import press_ctrl_c
from tests.train.test_recipes import SETTINGS, case, digits, state, supernet
from torch import Tensor

from concertina.train import Trainer, TrainSettings, train

VARIANTS = {
    "full_from_core": replace(SETTINGS, full_from_core=1.0),
    "shrink_share": replace(SETTINGS, shrink_share=0.6),
    "random_specs": replace(SETTINGS, random_specs=2, shrink_share=0.3),
    "clip_norm": replace(SETTINGS, clip_norm=0.5),
    "average": replace(SETTINGS, average=0.9),
    "adamw": replace(SETTINGS, optimizer="adamw", learning_rate=1e-3, average=0.9),
}


def run(settings: TrainSettings, recipe: str = "sandwich", **options: object) -> tuple[dict[str, Tensor], list[float]]:
    made = supernet()
    trainer = Trainer(made, case()[2], steps=10, recipe=recipe, settings=settings)
    losses = train(trainer, digits(), recipe=recipe, **options)  # type: ignore[arg-type]
    return state(made), losses


@pytest.mark.parametrize("name", VARIANTS)
def test_each_setting_changes_the_result_and_survives_being_stopped(name: str, tmp_path: Path) -> None:
    settings, path = VARIANTS[name], tmp_path / "state.safetensors"
    plain, _ = run(SETTINGS)
    whole, losses = run(settings)
    for stop_at in (0.25, 0.65):

        def halt(stage: str, done: float, at: float = stop_at) -> None:
            if stage.startswith("training") and done >= at:
                press_ctrl_c()

        with pytest.raises(KeyboardInterrupt, match="between two steps"):
            run(settings, checkpoint=path, resume=True, progress=halt)
    resumed, again = run(settings, checkpoint=path, resume=True)
    assert losses == again
    assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []
    assert any(not torch.equal(whole[key], plain[key]) for key in whole)


def test_smaller_points_join_one_by_one() -> None:
    made, data = supernet(), digits(32)
    macs = [point.macs for point in made.points.values()]
    trainer = Trainer(made, case()[2], steps=12, settings=replace(SETTINGS, shrink_share=0.5))
    spent = []
    for _ in range(12):
        before = trainer.macs_spent
        trainer.step(data.tensors)
        spent.append((trainer.macs_spent - before) // (3 * 32))
    assert spent[0] == macs[-1] + macs[-2]
    assert spent[-1] == sum(macs)
    assert spent == sorted(spent)


def test_clipping_bounds_the_gradient_of_a_step() -> None:
    made = supernet()
    before = state(made)
    settings = replace(SETTINGS, clip_norm=1e-3, weight_decay=0.0, warmup_share=0.0)
    Trainer(made, case()[2], steps=1, settings=settings).step(digits(32).tensors)
    names = [n for n in before if not n.endswith(("running_mean", "running_var"))]
    moved = torch.cat([(state(made)[n] - before[n]).flatten() for n in names]).norm()
    assert 0 < float(moved) <= 1.9e-3 * settings.learning_rate * 1.001  # Nesterov: (1 + momentum) times the gradient


def test_averaging_leaves_finished_points_bit_equal_in_prune_and_grow() -> None:
    made, data = supernet(), digits()
    inputs = data.tensors[0][:16]
    trainer = Trainer(made, case()[2], steps=14, recipe="prune-and-grow", settings=replace(SETTINGS, average=0.9))
    kept: dict[str, Tensor] = {}
    compared = 0
    for step in range(14):
        frozen = trainer.phase.frozen
        for name in list(made.points)[: list(made.points).index(frozen) + 1] if frozen else ():
            outputs = made.at_point(name)(inputs)
            assert torch.equal(kept.setdefault(name, outputs), outputs), f"{name} moved at step {step}"
            compared += 1
        trainer.step(tuple(tensor[8 * step : 8 * step + 32] for tensor in data.tensors))
    assert compared > len(made.points)


def test_an_average_is_smoother_than_what_it_averages() -> None:
    name = "stages.0.0.conv1.weight"
    rough, smooth, start = run(SETTINGS)[0][name], run(VARIANTS["average"])[0][name], state(supernet())[name]
    assert 0 < float((smooth - start).norm()) < float((rough - start).norm())
