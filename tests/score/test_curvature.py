"""The criteria that look at what layers read: curvature, activation, relevance."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import concertina as ct
from concertina.analyse import analyse
from concertina.load.data import batches
from concertina.objective.base import TASKS, Task
from concertina.score import score
from concertina.score.base import per_unit, readings
from concertina.types import Core, Graph


@cache
def case(name: str = "mlp") -> tuple[Core, Graph, Task, list]:
    core = ct.load(f"zoo:{name}")
    task = TASKS.get("classification")(core.class_names)  # type: ignore[call-arg]
    data = ct.open_data("zoo:digits@validation", preprocess=core.preprocess)
    return core, analyse(core), task, list(batches(data.subset(range(192)), 64))


def test_hessian_is_half_the_second_derivative_by_a_gate() -> None:
    core, graph, task, data = case()
    group = graph.elastic_groups[-1]
    foretold = torch.stack(
        [score(core, graph, task, data, criterion="hessian", seed=s).units[group.name] for s in range(20)]
    ).mean(0)
    units = foretold.topk(5).indices.tolist()
    for unit in units:
        assert float(foretold[unit]) == pytest.approx(0.5 * curvature(core, group, data, unit), rel=0.35)


def curvature(core: Core, group: object, data: list, unit: int, step: float = 1e-3) -> float:
    """Return the second derivative by a gate of the cross entropy towards the network's own predictions."""
    module = copy.deepcopy(core.module).double()
    reader = next(m for m in group.members if m.role == "in")  # type: ignore[attr-defined]
    weight = dict(module.named_parameters())[reader.tensor]
    inputs = torch.cat([batch[0] for batch in data]).double()
    column = weight.detach().select(reader.dim, unit).clone()
    with torch.no_grad():
        own = module(inputs).softmax(1)

        def loss(gate: float) -> float:
            weight.select(reader.dim, unit).copy_(gate * column)
            return float(-(own * module(inputs).log_softmax(1)).sum(1).mean())

        return (loss(1 + step) - 2 * loss(1.0) + loss(1 - step)) / step**2


def test_hessian_uses_given_labels_where_they_are_no_classes() -> None:
    class Regression(type(case()[2])):  # type: ignore[misc]
        def loss(self, outputs: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
            return (outputs[:, 0] - batch[-1]).square().mean()

    core, graph, _, data = case()
    floats = [(x, y.float()) for x, y in data]
    first, second = (
        score(core, graph, Regression(), floats, criterion="hessian", seed=s).units for s in range(2)
    )  # no label is drawn, so the seed does not matter
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(float(values.max()) > 0 for values in first.values())


def test_activation_needs_no_labels_and_ignores_what_is_constant() -> None:
    core, graph, task, data = case("digits-cnn")
    group = next(g for g in graph.elastic_groups if g.name.endswith("0.0.conv1"))
    module = copy.deepcopy(core.module)
    norm = module.get_submodule(group.name.replace("conv1", "norm1"))
    with torch.no_grad():
        norm.weight[3], norm.bias[3] = 0.0, 50.0  # type: ignore[index]
    changed = Core(module, core.example_inputs, core.source, "", class_names=core.class_names)
    unlabelled = [(x, torch.zeros_like(y)) for x, y in data]
    values, same = (
        score(changed, graph, task, d, criterion="activation").units[group.name] for d in (data, unlabelled)
    )
    assert torch.equal(values, same)
    assert float(values[3]) == pytest.approx(0.0, abs=1e-6)
    assert float(values.sum()) == pytest.approx(1.0, abs=1e-4)


def test_relevance_falls_where_a_unit_is_read_less() -> None:
    core, graph, task, data = case("digits-cnn")
    group = next(g for g in graph.elastic_groups if g.name.endswith("1.0.conv1"))
    reader = next(m for m in group.members if m.role == "in")
    module = copy.deepcopy(core.module)
    with torch.no_grad():
        dict(module.named_parameters())[reader.tensor].select(reader.dim, 5).mul_(0.05)
    weaker = Core(module, core.example_inputs, core.source, "", class_names=core.class_names)
    before, after = (score(c, graph, task, data, criterion="relevance").units[group.name][5] for c in (core, weaker))
    assert float(after) < 0.3 * float(before)


@pytest.mark.parametrize("name", ["mlp", "digits-cnn", "tiny-vit"])
def test_what_is_read_of_a_unit_is_what_its_weights_meet(name: str) -> None:
    core, graph, task, data = case(name)
    with torch.no_grad(), readings(core.module, graph) as read:
        core.module(*task.inputs(data[0]))
    checked = 0
    for some in read.values():
        for reading in some:
            layer, values = reading.layer, reading.values
            if not isinstance(layer, nn.Linear):
                continue
            rows, weights = reading.by_unit(values), reading.weights()
            positions = reading.member.positions
            rows = rows.reshape(*rows.shape[:2], positions, -1)
            weights = weights.reshape(len(weights), positions, -1)
            whole = torch.einsum("bupr,upo->bro", rows, weights).reshape(-1, layer.out_features)
            expected = (layer(values) - (0 if layer.bias is None else layer.bias)).reshape(-1, layer.out_features)
            assert torch.allclose(whole, expected, atol=1e-4)
            assert torch.equal(weights.flatten(1), per_unit(layer.weight.detach(), reading.member, reading.units))
            checked += 1
    assert checked > 0


def test_what_is_read_has_a_gradient_of_its_own() -> None:
    core, graph, task, data = case("digits-cnn")
    group = next(g for g in graph.elastic_groups if sum(m.role == "in" for m in g.members) > 1)
    with readings(core.module, graph) as read:
        outputs = core.module(*task.inputs(data[0]))
    gradients = torch.autograd.grad(outputs.sum(), [reading.values for reading in read[group.name]])
    assert len(gradients) == sum(m.role == "in" for m in group.members)
    assert not any(torch.equal(gradients[0], other) for other in gradients[1:])
