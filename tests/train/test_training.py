"""Training a family: equal seeds, killed runs, frozen points, and a step for any loop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.train.interrupt import press_ctrl_c
from torch import Tensor

import concertina as ct
from concertina.analyse import analyse
from concertina.errors import DataError, ResumeError, TrainingError, UnknownNameError
from concertina.load.data import TensorData
from concertina.measure.cost import CostModel
from concertina.nest import Supernet, choose_points, named_tensors, nest
from concertina.objective.base import TASKS, Task
from concertina.score import score
from concertina.train import RECIPES, Trainer, TrainSettings, train
from concertina.train.loop import num_steps

CORE = ct.load("zoo:digits-cnn")
GRAPH = analyse(CORE)
TASK: Task = TASKS.get("classification")(CORE.class_names)  # type: ignore[call-arg]
SETTINGS = TrainSettings(epochs=1, batch_size=32, learning_rate=0.05, seed=3)


def digits(count: int = 160) -> TensorData:
    data = ct.open_data("zoo:digits@train", preprocess=CORE.preprocess, class_names=CORE.class_names)
    return data.subset(torch.arange(count))


def supernet() -> Supernet:
    made = nest(CORE, GRAPH, score(CORE, GRAPH, TASK, [], criterion="magnitude-l2"), CostModel.of)
    choose_points(made, (0.1, 0.3, 0.6))
    return made


def weights(made: Supernet) -> dict[str, Tensor]:
    state = {n: t.detach().clone() for n, t in named_tensors(made.module).items()}
    for point, tensors in made.private.items():
        state |= {f"{point}/{n}": t.detach().clone() for n, t in tensors.items()}
    return state


def run(recipe: str, settings: TrainSettings = SETTINGS, **options: object) -> tuple[Supernet, list[float]]:
    made, data = supernet(), digits()
    trainer = Trainer(made, TASK, steps=max(8, num_steps(data, settings)), recipe=recipe, settings=settings)
    return made, train(trainer, data, recipe=recipe, **options)  # type: ignore[arg-type]


def assert_equal_states(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [n for n in a if not torch.equal(a[n], b[n])] == []


@pytest.mark.parametrize("recipe", RECIPES.names())
def test_equal_seeds_give_equal_weights_and_other_seeds_others(recipe: str) -> None:
    (first, losses), (second, again), (third, _) = run(recipe), run(recipe), run(recipe, replace(SETTINGS, seed=4))
    assert losses == again
    assert_equal_states(weights(first), weights(second))
    assert any(not torch.equal(a, b) for a, b in zip(weights(first).values(), weights(third).values(), strict=True))


@pytest.mark.parametrize("recipe", RECIPES.names())
def test_a_run_resumed_from_any_checkpoint_ends_where_one_never_stopped_ends(recipe: str, tmp_path: Path) -> None:
    whole, losses = run(recipe)
    path = tmp_path / "state.safetensors"

    for stop_at in (0.3, 0.6, 0.85):

        def halt(stage: str, done: float, at: float = stop_at) -> None:
            if stage.startswith("training") and done >= at:
                press_ctrl_c()

        with pytest.raises(KeyboardInterrupt, match="between two steps"):
            run(recipe, checkpoint=path, resume=True, progress=halt)
    resumed, again = run(recipe, checkpoint=path, resume=True)
    assert losses == again
    assert_equal_states(weights(whole), weights(resumed))


def test_prune_and_grow_leaves_smaller_points_bit_equal_while_larger_ones_grow() -> None:
    made, data = supernet(), digits()
    names = list(made.points)
    inputs = data.tensors[0][:16]
    trainer = Trainer(made, TASK, steps=14, recipe="prune-and-grow", settings=replace(SETTINGS, learning_rate=0.2))
    kept: dict[str, Tensor] = {}
    compared = 0
    for step in range(14):
        phase = trainer.phase
        if phase.frozen:
            for name in names[: names.index(phase.frozen) + 1]:
                outputs = made.at_point(name)(inputs)
                assert torch.equal(kept.setdefault(name, outputs), outputs), f"{name} moved at step {step}"
                compared += 1
        chosen = torch.arange(32) + 8 * step
        trainer.step((data.tensors[0][chosen], data.tensors[1][chosen]))
    for name in names[:-1]:
        assert torch.equal(kept[name], made.at_point(name)(inputs))
    assert compared > len(names)


def test_training_moves_every_point(tmp_path: Path) -> None:
    before = weights(supernet())
    for recipe in RECIPES.names():
        made, _ = run(recipe)
        after = weights(made)
        for point in made.points:
            own = [n for n in after if n.startswith(f"{point}/")] or [n for n in after if "/" not in n]
            assert any(not torch.equal(before[n], after[n]) for n in own), f"{recipe} never trained {point}"


def test_cost_is_counted_teacher_included() -> None:
    made, data = supernet(), digits(64)
    trainer = Trainer(made, TASK, steps=14, recipe="prune-and-grow", settings=SETTINGS)
    trainer.step(tuple(t[:32] for t in data.tensors))
    full = made.points["p100"].macs
    assert trainer.macs_spent == 32 * (3 * full + full)


def test_bad_batches_and_steps_are_refused_by_name() -> None:
    made, data = supernet(), digits(64)
    trainer = Trainer(made, TASK, steps=1, settings=SETTINGS)
    with pytest.raises(DataError, match="two samples"):
        trainer.step(tuple(t[:1] for t in data.tensors))
    with pytest.raises(DataError, match="label"):
        trainer.step((data.tensors[0][:4], torch.tensor([0, 1, 2, 99])))
    trainer.step(tuple(t[:8] for t in data.tensors))
    with pytest.raises(TrainingError, match="all steps are done"):
        trainer.step(tuple(t[:8] for t in data.tensors))
    with pytest.raises(UnknownNameError, match="sandwich"):
        Trainer(made, TASK, steps=9, recipe="sandwitch")


def test_a_loss_that_is_not_finite_stops_training() -> None:
    made, data = supernet(), digits(64)
    trainer = Trainer(made, TASK, steps=30, settings=replace(SETTINGS, learning_rate=1e12, warmup_share=0.0))

    def go_on() -> None:
        for _ in range(30):
            trainer.step(tuple(t[:32] for t in data.tensors))

    with pytest.raises(TrainingError, match="not finite"):
        go_on()


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    run("sandwich", checkpoint=path)
    with pytest.raises(ResumeError, match="learning_rate"):
        run("sandwich", replace(SETTINGS, learning_rate=0.01), checkpoint=path, resume=True)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ResumeError, match="damaged"):
        run("sandwich", checkpoint=path, resume=True)


KILLED = textwrap.dedent(
    """
    import sys, torch
    torch.set_num_threads(1)
    import concertina as ct
    core = ct.load("zoo:digits-cnn")
    data = ct.open_data("zoo:digits@train", preprocess=core.preprocess).subset(range(400))
    import concertina.train.checkpoint as checkpoint
    checkpoint.FIRST_AFTER_S = checkpoint.EVERY_S = 0.0
    family = ct.fit(core, data, data, points=(0.1, 0.4), epochs=3, batch_size=32, criterion="magnitude-l2",
                    checkpoint=sys.argv[1] + ".state", resume=True,
                    progress=lambda stage, done: print(stage, flush=True))
    family.save(sys.argv[1])
    """
)


def test_a_killed_fit_resumes_to_the_same_weights(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    paths = [tmp_path / "killed.concertina", tmp_path / "whole.concertina"]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(paths[0])], env=environment, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        for steps, line in enumerate(iter(first.stdout.readline, b"")):
            if steps > 12 and b"sandwich" in line:
                break
        time.sleep(0.2)
        first.send_signal(signal.SIGKILL)
    assert not paths[0].exists()
    assert paths[0].with_name("killed.concertina.state").exists()
    for path in paths:
        subprocess.run([sys.executable, "-c", KILLED, str(path)], env=environment, check=True, capture_output=True)
    families = [ct.open(path) for path in paths]
    assert_equal_states(weights(families[0].supernet), weights(families[1].supernet))


def test_a_step_fits_into_a_loop_of_one_s_own() -> None:
    ready = ct.prepare(CORE, digits(), points=(0.2, 0.5), criterion="norm-scale")
    trainer = ct.Trainer(ready.supernet, ready.task, steps=6, settings=ct.TrainSettings(seed=1))
    losses = [trainer.step(tuple(t[i * 16 : i * 16 + 16] for t in ready.train_data.tensors)) for i in range(6)]
    assert all(loss > 0 for loss in losses)
    assert trainer.position == 6
