"""View subnets: ordinary modules over one storage, refusing what would write into it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import concertina as ct
from concertina.errors import BudgetError, SpecError, ViewError
from concertina.load.zoo import ZOO
from concertina.nest import choose_points, named_tensors
from concertina.testing import Subject, make_subject


@pytest.fixture(scope="module")
def digits() -> Subject:
    return make_subject(ct.load("zoo:digits-cnn"))


@pytest.fixture(scope="module")
def mlp() -> Subject:
    return make_subject(ct.load("zoo:mlp"))


def test_a_subnet_equals_the_same_network_built_by_hand(mlp: Subject) -> None:
    network, space = ZOO.get("mlp"), mlp.supernet.space
    for spec in mlp.specs("width", 6):
        view = mlp.supernet.subnet(spec)
        widths = [layer.out_features for layer in view.modules() if isinstance(layer, nn.Linear)][:-1]
        by_hand = network.build(**{**mlp.core.arguments, "hidden": widths}).eval()
        by_hand.load_state_dict(view.state_dict())
        for seed in range(3):
            inputs = mlp.inputs(seed)
            with torch.no_grad():
                assert torch.allclose(view(*inputs), by_hand(*inputs), atol=1e-6)
    assert space.dims


def test_a_view_refuses_training_and_loading_and_its_copy_does_not(digits: Subject) -> None:
    view = digits.supernet.at_point(next(iter(digits.supernet.points)))
    with pytest.raises(ViewError, match=r"materialize\(\)"):
        view.train()
    with pytest.raises(ViewError, match="overwrite"):
        view.load_state_dict(view.state_dict())
    assert view.eval() is view
    free = view.materialize()
    free.train()
    free.load_state_dict(view.state_dict())
    assert all(p.requires_grad for p in free.parameters())
    assert not any(p.requires_grad for p in view.parameters())


CHANGES = {
    "half": lambda net: net.half(),
    "double": lambda net: net.double(),
    "bfloat16": lambda net: net.bfloat16(),
    "type": lambda net: net.type(torch.float64),
    "to dtype": lambda net: net.to(torch.float16),
    "to device": lambda net: net.to("meta"),
    "to another like it": lambda net: net.to(torch.zeros(1, dtype=torch.float64)),
    "to_empty": lambda net: net.to_empty(device="cpu"),
    "cuda": lambda net: net.cuda(),
    "channels_last": lambda net: net.to(memory_format=torch.channels_last),
    "requires_grad_": lambda net: net.requires_grad_(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_view_refuses_to_become_something_else_and_its_copy_does_not(digits: Subject, change: str) -> None:
    view = digits.supernet.at_point("p100")
    before = {name: (id(t), t.dtype, t.requires_grad) for name, t in named_tensors(view).items()}
    with pytest.raises(ViewError, match=r"materialize\(\)"):
        CHANGES[change](view)
    assert {name: (id(t), t.dtype, t.requires_grad) for name, t in named_tensors(view).items()} == before
    if change != "cuda":
        assert CHANGES[change](view.materialize()) is not None


def test_a_view_lets_through_what_changes_nothing(digits: Subject) -> None:
    view = digits.supernet.at_point("p100")
    assert view.float() is view.cpu() is view.to("cpu") is view.to(torch.float32) is view.eval() is view
    assert view.requires_grad_(False) is view


def test_making_a_view_changes_no_private_tensor(digits: Subject) -> None:
    name = next(iter(digits.supernet.points))
    private = digits.supernet.private[name]
    view = digits.supernet.at_point(name)
    assert any(t.requires_grad for t in private.values())
    for layer in view.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.double()
    assert {t.dtype for t in private.values()} == {torch.float32}


def test_a_view_survives_copying_and_pickling(digits: Subject) -> None:
    view, inputs = digits.supernet.at_point("p100"), digits.inputs()
    for again in (copy.deepcopy(view), pickle.loads(pickle.dumps(view))):
        assert torch.equal(again(*inputs), view(*inputs))
        with pytest.raises(ViewError, match="eval mode"):
            again.train()
        assert again.materialize().train().training


def test_training_a_copy_leaves_the_family_alone(digits: Subject) -> None:
    before = {n: t.clone() for n, t in named_tensors(digits.supernet.module).items()}
    free = digits.supernet.at_point("p100").materialize().train()
    free(*digits.inputs()).sum().backward()
    torch.optim.SGD(free.parameters(), 0.1).step()
    assert all(torch.equal(before[n], t) for n, t in named_tensors(digits.supernet.module).items())


def test_a_view_has_the_core_s_classes_and_right_declared_sizes(digits: Subject) -> None:
    view = digits.supernet.subnet(digits.supernet.space.full)
    assert type(view) is type(digits.core.module)
    for spec in digits.specs("width"):
        for layer in digits.supernet.subnet(spec).modules():
            if isinstance(layer, nn.Conv2d):
                assert layer.weight.shape[0] == layer.out_channels
                assert layer.weight.shape[1] * layer.groups == layer.in_channels
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                assert len(layer.running_mean) == layer.num_features


def test_skipped_blocks_take_no_memory(digits: Subject) -> None:
    smallest = digits.supernet.subnet(digits.supernet.space.smallest)
    blocks = [dim for dim in digits.supernet.space.dims if dim.is_gate]
    assert blocks
    for dim in blocks:
        assert not list(smallest.get_submodule(dim.target).parameters())


def test_all_points_as_views_cost_only_their_private_tensors(digits: Subject) -> None:
    supernet = digits.supernet
    views = [supernet.at_point(name) for name in supernet.points]
    held = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for v in views for t in named_tensors(v).values()
    }
    private = sum(t.nbytes for tensors in supernet.private.values() for t in tensors.values())
    full = sum(t.nbytes for t in named_tensors(supernet.module).values())
    assert sum(held.values()) <= 1.01 * (full + private)


@pytest.mark.parametrize("choices", [{"width:nowhere": 1}, {"width": 3}])
def test_specs_of_another_space_are_refused_by_name(digits: Subject, choices: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="unknown dim"):
        digits.supernet.subnet(ct.SubnetSpec.of(choices))


def test_a_choice_that_is_not_offered_is_refused(digits: Subject) -> None:
    dim = next(d for d in digits.supernet.space.dims if not d.is_gate)
    spec = digits.supernet.space.full.with_choice(dim.name, dim.original + 1)
    with pytest.raises(SpecError, match=str(dim.original)):
        digits.supernet.subnet(spec)


def test_points_below_the_smallest_subnet_are_refused(digits: Subject) -> None:
    with pytest.raises(BudgetError, match="smallest subnet"):
        choose_points(copy.copy(digits.supernet), (1e-6,))
