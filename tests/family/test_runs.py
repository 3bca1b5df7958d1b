"""Sides of several runs, through everything: analysis, subnets, costs, training, the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.family import runs
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import concertina as ct
from concertina.analyse import analyse
from concertina.measure.trace import plain_kernels
from concertina.nest import random_spec
from concertina.train import Trainer, TrainSettings
from concertina.train.passes import Passes

KINDS = pytest.mark.parametrize("kind", runs.NETWORKS)


@KINDS
def test_groups_own_runs_and_are_elastic(kind: str) -> None:
    _, name, units, tensors = runs.NETWORKS[kind]
    group = next(group for group in runs.graph(kind).groups if group.name == name)
    assert (group.rigid, group.units) == ("", units)
    assert tensors <= {member.tensor for member in group.members if member.of}


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"proj_size": 8}])
def test_recurrent_layers_without_a_rule_are_named(options: dict[str, int]) -> None:
    core = ct.load(runs.Recurrent(torch.nn.LSTM, **options).eval(), runs.images(4).tensors[0])
    (embed,) = (group for group in analyse(core).groups if group.name == "embed")
    assert "no rule for what 'recurrent' does" in embed.rigid


@KINDS
def test_subnets_are_independent_networks_of_the_declared_size(kind: str) -> None:
    supernet, inputs = runs.family(kind).supernet, runs.images(2).tensors[:1]
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        spec = random_spec(supernet.space, generator)
        view = supernet.subnet(spec, supernet.fresh_private(spec))
        free = view.materialize()  # type: ignore[operator]
        with torch.no_grad():
            torch.testing.assert_close(view(*inputs), free(*inputs), rtol=1e-6, atol=1e-6)
        assert sum(p.numel() for p in free.parameters()) == supernet.costs.params(spec)
        with plain_kernels(), torch.no_grad(), FlopCounterMode(display=False) as counter:
            free(inputs[0][:1])
        assert counter.get_total_flops() // 2 == supernet.costs.macs(spec)


@KINDS
def test_gradients_of_a_pass_are_those_of_the_cut_network(kind: str) -> None:
    family = runs.fresh(kind)
    supernet, (inputs, labels) = family.supernet, runs.images(8).tensors
    point = family.points[0]
    passes = Passes(supernet)
    built = passes.of(point.name)
    F.cross_entropy(built.module(inputs), labels).backward()
    passes.collect(built)
    found = {name: p.grad for name, p in supernet.module.named_parameters() if p.grad is not None}
    supernet.module.zero_grad()
    for tensor in supernet.private[point.name].values():
        tensor.grad = None
    cut = supernet.at_point(point.name, gradient=True).train()
    F.cross_entropy(cut(inputs), labels).backward()
    wanted = {name: p.grad for name, p in supernet.module.named_parameters() if p.grad is not None}
    supernet.module.zero_grad()
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient)


@pytest.mark.parametrize("kind", ["concatenation", "LSTM"])
def test_a_step_reaches_the_next_pass_of_every_point(kind: str) -> None:
    family = runs.fresh(kind)
    trainer = Trainer(family.supernet, family.task, steps=2, settings=TrainSettings(batch_size=8, learning_rate=0.0))
    before = trainer.step(runs.images(8).tensors)
    with torch.no_grad():
        for parameter in family.supernet.module.parameters():
            parameter.mul_(1.5)
    assert trainer.step(runs.images(8).tensors) != before
    for point in family.points:
        passed = trainer._passes.of(point.name)
        assert all(torch.equal(passed.leaves[name], share.read()) for name, share in passed.shares.items())


@pytest.mark.parametrize("kind", ["concatenation", "GRU"])
def test_smaller_points_stay_bit_equal_while_larger_ones_grow(kind: str) -> None:
    family, inputs = runs.fresh(kind, "prune-and-grow"), runs.images(4).tensors[0]
    names = [point.name for point in family.points]
    trainer = Trainer(
        family.supernet,
        family.task,
        steps=10,
        recipe="prune-and-grow",
        settings=TrainSettings(batch_size=16, learning_rate=0.02),
    )
    while trainer.phase.name != f"grow to {names[-1]}":
        trainer.step(runs.images(16).tensors)
    middle = family.supernet.at_point(names[-2])
    before, largest = middle(inputs).clone(), family.supernet.at_point(names[-1])(inputs).clone()
    trainer.step(runs.images(16).tensors)
    assert not torch.equal(family.supernet.at_point(names[-1])(inputs), largest)
    assert torch.equal(family.supernet.at_point(names[-2])(inputs), before)


@KINDS
def test_files_give_back_every_point(kind: str, tmp_path: Path) -> None:
    family, inputs = runs.family(kind), runs.images(4).tensors[0]
    path = tmp_path / "family.concertina"
    family.save(path)
    smallest = family.points[0].name
    for reserve in (True, False):
        part = ct.open(path, module=runs.core(kind).module, upto=smallest, reserve=reserve)
        for point in family.points:
            part.grow(point.name)
            assert torch.equal(part.view(point.name)(inputs), family.view(point.name)(inputs))
            assert torch.equal(part.view(smallest)(inputs), family.view(smallest)(inputs))


def test_a_view_asked_for_after_a_change_has_changed_too() -> None:
    family, inputs = runs.fresh("concatenation"), runs.images(4).tensors[0]
    name = family.points[0].name
    before = family.view(name)(inputs)
    assert family.view(name) is family.view(name)
    with torch.no_grad():
        family.supernet.module.get_parameter("joined.weight").mul_(1.5)
    assert torch.equal(family.view(name)(inputs), family.supernet.at_point(name)(inputs))
    assert not torch.equal(family.view(name)(inputs), before)
