"""Criteria of importance, by what they promise."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch import nn

import concertina as ct
from concertina.analyse import analyse
from concertina.errors import AnalysisError, DataError, UnknownNameError
from concertina.load.data import batches
from concertina.objective.base import TASKS, Task
from concertina.score import CRITERIA, score
from concertina.types import Core, Graph


@cache
def case() -> tuple[Core, Graph, Task, list]:
    core = ct.load("zoo:digits-cnn")
    task = TASKS.get("classification")(core.class_names)  # type: ignore[call-arg]
    data = ct.open_data("zoo:digits@validation", preprocess=core.preprocess)
    return core, analyse(core), task, list(batches(data.subset(range(128)), 32))


@pytest.mark.parametrize("name", CRITERIA.names())
def test_every_unit_of_every_elastic_group_gets_a_finite_score(name: str) -> None:
    core, graph, task, data = case()
    scores = score(core, graph, task, data, criterion=name)
    assert {group.name for group in graph.elastic_groups} == set(scores.units)
    for group in graph.elastic_groups:
        assert scores.units[group.name].shape == (group.units,)
        assert torch.isfinite(scores.units[group.name]).all()
    assert set(scores.blocks) == {block.path for block in graph.elastic_blocks}


@pytest.mark.parametrize("name", CRITERIA.names())
def test_scores_are_the_same_again_and_leave_the_core_alone(name: str) -> None:
    core, graph, task, data = case()
    before = copy.deepcopy(core.module.state_dict())
    first, second = (score(core, graph, task, data, criterion=name, seed=5) for _ in range(2))
    assert all(torch.equal(first.units[key], second.units[key]) for key in first.units)
    assert all(torch.equal(before[key], tensor) for key, tensor in core.module.state_dict().items())
    assert all(p.grad is None for p in core.module.parameters())


@pytest.mark.parametrize("name", [name for name in CRITERIA.names() if name != "random"])
def test_a_dead_unit_is_worth_least(name: str) -> None:
    core, graph, task, data = case()
    module = copy.deepcopy(core.module)
    group = next(g for g in graph.elastic_groups if any(m.role == "norm" for m in g.members))
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for member in group.members:
            if not member.tensor.endswith(("running_mean", "running_var")):
                tensors[member.tensor].select(member.dim, 2).zero_()
    dead = Core(module, core.example_inputs, core.source, "", class_names=core.class_names)
    values = score(dead, graph, task, data, criterion=name).units[group.name]
    assert int(values.argmin()) == 2


def test_taylor_foretells_how_far_the_loss_moves_when_a_unit_is_dropped() -> None:
    core, graph, task, data = case()
    values = score(core, graph, task, data, criterion="taylor").units
    moves, foretold = [], []
    with torch.no_grad():
        for group in graph.elastic_groups:
            reader = next(m for m in group.members if m.role == "in")
            for unit in range(0, group.units, 4):
                module = copy.deepcopy(core.module)
                tensor = dict(module.named_parameters())[reader.tensor]
                tensor.narrow(reader.dim, unit * reader.positions, reader.positions).zero_()
                moves.append(abs(mean_loss(module, task, data) - mean_loss(core.module, task, data)))
                foretold.append(float(values[group.name][unit]))
    ranks = [torch.tensor(x).argsort().argsort().float() for x in (moves, foretold)]
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.6


def mean_loss(module: nn.Module, task: Task, data: list) -> float:
    return sum(float(task.loss(module(*task.inputs(b)), b)) for b in data) / len(data)


def test_unknown_criteria_and_missing_data_are_named() -> None:
    core, graph, task, data = case()
    with pytest.raises(UnknownNameError, match="Did you mean 'taylor'"):
        score(core, graph, task, data, criterion="tayler")
    with pytest.raises(DataError, match="needs calibration data"):
        score(core, graph, task, [], criterion="taylor")


def test_scores_that_are_not_finite_are_refused() -> None:
    core, graph, task, data = case()
    broken = [(torch.full_like(data[0][0], float("inf")), data[0][1])]
    with pytest.raises(AnalysisError, match="not finite"):
        score(core, graph, task, broken, criterion="taylor")


def test_beta_rank_tells_filters_apart_by_what_they_make_of_the_data() -> None:
    """Two filters of equal weights: one reads a channel that varies, the other one that hardly does."""
    first, second = nn.Conv2d(2, 4, 1, bias=False), nn.Conv2d(4, 3, 1, bias=False)
    with torch.no_grad():
        first.weight.zero_()
        for unit, channel in enumerate((0, 0, 1, 1)):
            first.weight[unit, channel] = 1.0
        second.weight.fill_(1.0)
    module = nn.Sequential(first, nn.ReLU(), second, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images = (
        torch.rand(32, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.05])[:, None, None]
    )
    core = ct.load(module, images[:2], task="classification", class_names=("a", "b", "c"))
    task = TASKS.get("classification")(core.class_names)  # type: ignore[call-arg]
    graph = analyse(core)
    values = score(core, graph, task, [(images, torch.zeros(32, dtype=torch.int64))], criterion="beta-rank").units
    assert sorted(next(iter(values.values())).argsort()[:2].tolist()) == [2, 3]
    sizes = score(core, graph, task, [], criterion="magnitude-l2").units
    assert float(next(iter(sizes.values())).std()) == pytest.approx(0, abs=1e-6)
