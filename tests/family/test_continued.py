"""A family that is there already is trained further: its shape stays, the core teaches, and the file says what was."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.family.subjects import digits, family, fresh

import concertina as ct
from concertina.errors import InputError
from concertina.family import Family
from concertina.nest import named_tensors

TRAINING = {"epochs": 1, "batch_size": 32, "seed": 3}


def core() -> ct.Core:
    return ct.load("zoo:digits-cnn")


def further(start: Any, **options: Any) -> Family:
    return ct.fit(core(), digits(), start=start, **(TRAINING | options))


def weights(made: Family) -> dict[str, torch.Tensor]:
    found = dict(named_tensors(made.supernet.module))
    for point, private in made.supernet.private.items():
        found |= {f"{point}.{name}": tensor for name, tensor in private.items()}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def test_training_begun_without_steps_goes_on_as_if_never_stopped() -> None:
    at_once = fresh(points=(0.2,), order="criterion", **TRAINING)
    later = further(fresh(points=(0.2,), epochs=0))
    for name, tensor in weights(at_once).items():
        torch.testing.assert_close(weights(later)[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_sizes_and_order_stay_and_the_family_given_is_not_touched() -> None:
    start = family()
    before = copy.deepcopy(weights(start))
    made = further(start)
    assert made.supernet.order == start.supernet.order
    assert [(p.name, p.spec) for p in made.points] == [(p.name, p.spec) for p in start.points]
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(start).items())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in weights(made).items())


def test_from_a_file_as_from_memory(tmp_path: Path) -> None:
    start = family()
    start.save(tmp_path / "start.concertina")
    kept, read = weights(further(start)), weights(further(tmp_path / "start.concertina"))
    assert all(torch.equal(tensor, read[name]) for name, tensor in kept.items())


def test_the_core_teaches_and_not_the_family() -> None:
    start = fresh(points=(0.2,), epochs=0)
    with torch.no_grad():
        for tensor in start.supernet.module.parameters():
            tensor.zero_()
    images = digits().inputs
    ready = ct.prepare(core(), digits(), start=start, **TRAINING)
    assert ready.teacher is not None
    torch.testing.assert_close(ready.teacher.module(images), core().module(images))


def test_provenance_tells_all_trainings() -> None:
    once = further(family())
    twice = further(once, recipe="fixed-list", learning_rate=0.01)
    facts = twice.evidence.provenance
    assert facts["recipe"] == "fixed-list"
    assert facts["criterion"] == "taylor"
    first, second = facts["trained before"].split("; then ")
    assert first.startswith("9 steps of sandwich, 1 epochs")
    assert "seed 3" in second


def test_a_killed_run_goes_on_with_the_same_result(tmp_path: Path) -> None:
    start, checkpoint = family(), tmp_path / "run.fit"

    def stop(stage: str, done: float) -> None:
        if stage.startswith("training") and done > 0.5:
            raise RuntimeError("killed")

    whole = weights(further(start, checkpoint=tmp_path / "other.fit"))
    with pytest.raises(RuntimeError, match="killed"):
        further(start, checkpoint=checkpoint, progress=stop)
    resumed = weights(further(start, checkpoint=checkpoint, resume=True))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 3}, "option start: got 3; allowed: a family, or the path of its file"),
        ({"criterion": "taylor"}, "option criterion: got with start=; allowed: one of both"),
        ({"ignore": ["conv1"]}, "option ignore: got with start="),
        ({"points": (0.3,)}, "option points: got with start="),
    ],
)
def test_what_does_not_go_with_a_start_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        further(**({"start": family()} | options))


def test_a_family_of_another_core_is_refused() -> None:
    other = core()
    with torch.no_grad():
        next(other.module.parameters()).add_(1.0)
    other = ct.load(other.module, other.example_inputs)
    with pytest.raises(InputError, match=r"a family of another core .* the network and the weights"):
        ct.fit(other, digits(), start=family(), **TRAINING)


def test_a_part_of_a_family_is_refused(tmp_path: Path) -> None:
    family().save(tmp_path / "start.concertina")
    part = ct.open(tmp_path / "start.concertina", upto="p20")
    with pytest.raises(InputError, match=r"a family opened in part; allowed: a whole one. Call grow"):
        further(part)
