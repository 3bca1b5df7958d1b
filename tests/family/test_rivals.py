"""What a family is compared with: networks trained by themselves, with the same means and an honest bill."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.train.interrupt import press_ctrl_c

import concertina as ct
from concertina.analyse import analyse
from concertina.errors import InputError
from concertina.family.alone import Training, family_of_one, trained_alone
from concertina.family.rivals import RIVALS, TRAINING_MACS, TUNED, UNTUNED, measure_rivals
from concertina.load.data import TensorData
from concertina.measure.baselines import count_macs, torch_pruning_cut
from concertina.objective.base import TASKS
from concertina.train import Trainer, TrainSettings, train

CORE = ct.load("zoo:mlp")
TASK = TASKS.get("classification")(CORE.class_names)  # type: ignore[call-arg]
SETTINGS = TrainSettings(epochs=2, batch_size=32, learning_rate=0.05, full_from_core=1.0)


def digits(part: str = "train", count: int = 256) -> TensorData:
    return ct.open_data(f"zoo:digits@{part}", preprocess=CORE.preprocess).subset(torch.arange(count))


def cut(share: float = 0.3) -> torch.nn.Module:
    whole = count_macs(CORE.module, CORE.example_inputs)
    found = torch_pruning_cut(CORE, analyse(CORE), int(share * whole))
    assert found is not None
    return found[0]


def test_a_network_alone_is_trained_as_a_family_of_that_one_point_is() -> None:
    ready = ct.prepare(CORE, digits(), points=(1.0,), criterion="magnitude-l2")
    trainer = Trainer(ready.supernet, TASK, steps=16, settings=SETTINGS)
    train(trainer, ready.train_data, recipe="sandwich")
    alone = trained_alone(ct.load("zoo:mlp").module, CORE, Training(digits(), TASK, SETTINGS))
    inputs = digits("test").tensors[0]
    assert torch.allclose(alone.module(inputs), ready.supernet.at_point("p100")(inputs), atol=1e-3)
    assert alone.training_macs == trainer.macs_spent


def test_its_bill_has_its_own_passes_and_those_of_the_core() -> None:
    module = cut()
    macs, core = (count_macs(network, CORE.example_inputs) for network in (module, CORE.module))
    assert macs < 0.3 * core
    alone = trained_alone(module, CORE, Training(digits(), TASK, SETTINGS))
    assert alone.training_macs == 256 * 2 * (3 * macs + core)


def test_it_learns_and_leaves_the_core_as_it_was() -> None:
    before = [tensor.clone() for tensor in CORE.module.parameters()]
    data, module = digits("train", 800), cut()
    untuned = float((module(data.tensors[0]).argmax(1) == data.tensors[1]).float().mean())
    trained = trained_alone(module, CORE, Training(data, TASK, SETTINGS)).module
    tuned = float((trained(data.tensors[0]).argmax(1) == data.tensors[1]).float().mean())
    assert tuned > untuned + 0.1
    assert all(torch.equal(a, b) for a, b in zip(before, CORE.module.parameters(), strict=True))
    assert family_of_one(trained, CORE).points["p100"].share == 1.0


def test_stopped_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def halt(stage: str, done: float) -> None:
        if stage.startswith("training") and done >= 0.5:
            press_ctrl_c()

    whole = trained_alone(cut(), CORE, Training(digits(), TASK, SETTINGS)).module
    training = Training(digits(), TASK, SETTINGS, tmp_path / "rival.fit")
    with pytest.raises(KeyboardInterrupt, match="between two steps"):
        trained_alone(cut(), CORE, training, progress=halt)
    resumed = trained_alone(cut(), CORE, training).module
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_rivals_stand_beside_every_point_with_their_names(tmp_path: Path) -> None:
    held = digits("test", 128)
    family = ct.fit(CORE, digits(), held, points=(0.3, 1.0), epochs=1, criterion="magnitude-l2")
    found = measure_rivals(family, CORE, held, tuning=Training(digits(), TASK, SETTINGS))
    small, full = (point.spec.text for point in family.points)
    assert {r.scope for r in found if r.spec == small} == set(RIVALS)
    assert {r.scope for r in found if r.spec == full} == set(RIVALS) - {TUNED}
    assert [r.scope for r in found if r.metric == TRAINING_MACS] == [TUNED]
    macs = {r.scope: r.value for r in found if r.metric == "macs" and r.spec == small}
    assert macs[TUNED] == macs[UNTUNED] <= family.points[0].macs
    family.save(tmp_path / "mlp.concertina")
    with pytest.raises(InputError, match="Use the family that `fit` gave"):
        measure_rivals(ct.open(tmp_path / "mlp.concertina"), CORE, held)
