"""Kinds of modules: what they change, that they fit every size, and that merging is attaching."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import concertina as ct
from concertina.errors import InputError, UnknownNameError
from concertina.modules import KINDS
from concertina.nest import Supernet, random_spec
from concertina.nest.plugged import Plug, cut_plug, new_plug, with_plugs
from concertina.types import SubnetSpec

CHANGES = [name for name in KINDS.names() if name not in ("head", "head-on-outputs", "head-on-tokens", "prompt")]
MERGEABLE = [entry.name for entry in KINDS if entry.part.mergeable]


class Mixed(nn.Module):
    """Grouped, depthwise and plain convolutions, a skippable block, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, padding_mode="reflect")
        self.widen = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.depthwise(torch.relu(self.grouped(x))))
        return self.head(torch.relu(self.widen(x)).mean((2, 3)))


@cache
def supernet(name: str) -> tuple[Supernet, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    core = ct.load(Mixed().eval(), torch.randn(4, 3, 8, 8)) if name == "mixed" else ct.load(name)
    family = ct.prepare(core, [(*core.example_inputs, labels(core))], points=(0.5,), epochs=0, criterion="magnitude-l2")
    return family.supernet, core.example_inputs


def labels(core: ct.Core) -> Tensor:
    return torch.zeros(len(core.example_inputs[0]), dtype=torch.int64)


def stirred(module: Plug, seed: int = 1) -> Plug:
    """Return the module with random values, so that it changes something."""
    generator = torch.Generator().manual_seed(seed)
    return module.with_tensors({k: torch.randn(t.shape, generator=generator) * 0.2 for k, t in module.tensors.items()})


def specs(made: Supernet, count: int = 5) -> list[SubnetSpec]:
    generator = torch.Generator().manual_seed(0)
    return [made.space.full, *(random_spec(made.space, generator) for _ in range(count))]


NETWORKS = ("zoo:digits-cnn", "zoo:tiny-vit", "mixed")


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", CHANGES)
def test_a_new_module_changes_nothing_at_any_size(network: str, kind: str) -> None:
    made, inputs = supernet(network)
    module = new_plug(made, kind)
    for spec in specs(made):
        with torch.no_grad():
            plain, plugged = made.subnet(spec)(*inputs), with_plugs(made, spec, [module])(*inputs)
        assert torch.allclose(plain, plugged, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", CHANGES)
def test_a_module_changes_answers_at_every_size_and_leaves_the_core_as_it_was(network: str, kind: str) -> None:
    made, inputs = supernet(network)
    before = copy.deepcopy(made.module.state_dict())
    module = stirred(new_plug(made, kind))
    for spec in specs(made):
        with torch.no_grad():
            plain, plugged, again = (
                made.subnet(spec)(*inputs),
                with_plugs(made, spec, [module])(*inputs),
                made.subnet(spec)(*inputs),
            )
        assert torch.equal(plain, again)
        assert float((plain - plugged).abs().max()) > 1e-4
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.module.state_dict().items())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", MERGEABLE)
def test_merged_answers_are_those_of_attached(network: str, kind: str) -> None:
    made, inputs = supernet(network)
    module = stirred(new_plug(made, kind))
    for spec in specs(made):
        attached, merged = with_plugs(made, spec, [module]), with_plugs(made, spec, [module], merged=True)
        with torch.no_grad():
            one, other = attached(*inputs), merged(*inputs)
        assert float((one - other).abs().max()) <= 1e-4 * max(1.0, float(one.abs().max()))


@pytest.mark.parametrize("kind", MERGEABLE)
def test_a_subnet_of_the_changed_core_is_the_changed_subnet(kind: str) -> None:
    """`slice(core + change)`, worked out on the whole core, against `slice(core) + slice(change)`."""
    made, inputs = supernet("zoo:digits-cnn")
    module = stirred(new_plug(made, kind))
    whole = with_plugs(made, made.space.full, [module], merged=True)
    changed = Supernet(whole.materialize(), made.order, made.costs, made.permutations)  # type: ignore[operator]
    for spec in specs(made):
        with torch.no_grad():
            one = changed.subnet(spec)(*inputs)
            other = with_plugs(made, spec, [module], merged=True)(*inputs)
        assert torch.allclose(one, other, atol=1e-5)


def test_attached_weights_are_views_and_merged_ones_are_copies_of_what_is_touched() -> None:
    made, _ = supernet("zoo:digits-cnn")
    module = stirred(new_plug(made, "lora", layers=["conv1"]))
    storage = {t.untyped_storage().data_ptr() for t in made.module.parameters()}
    attached, merged = (with_plugs(made, made.space.full, [module], merged=m) for m in (False, True))
    assert all(p.untyped_storage().data_ptr() in storage for p in attached.parameters())
    own = {name for name, p in merged.named_parameters() if p.untyped_storage().data_ptr() not in storage}
    assert own == {f"{path}.weight" for path in module.places}
    assert all(path.endswith("conv1") for path in module.places)


@pytest.mark.parametrize("kind", CHANGES)
def test_gradients_flow_to_the_module_and_not_to_the_core(kind: str) -> None:
    made, inputs = supernet("zoo:digits-cnn")
    module = stirred(new_plug(made, kind))
    leaves = {key: nn.Parameter(tensor) for key, tensor in module.tensors.items()}
    made.module.zero_grad(set_to_none=True)
    with_plugs(made, specs(made)[1], [module.with_tensors(leaves)], gradient=True)(*inputs).square().sum().backward()
    assert any(leaf.grad is not None and bool(leaf.grad.any()) for leaf in leaves.values())
    assert all(parameter.grad is None for parameter in made.module.parameters())


def test_layers_that_a_subnet_lacks_have_no_part_in_it() -> None:
    made, _ = supernet("zoo:digits-cnn")
    gate = next(dim for dim in made.space.dims if dim.is_gate)
    module = new_plug(made, "lora")
    spec = made.space.check(made.space.full.with_choice(gate.name, 0))
    inside = {path for path in module.places if path.startswith(f"{gate.target}.")}
    assert inside
    assert set(cut_plug(made.space, spec, module)) == set(module.places) - inside


def test_the_gates_of_a_sparse_difference_shut_and_then_nothing_is_changed() -> None:
    made, inputs = supernet("zoo:digits-cnn")
    module = stirred(new_plug(made, "sparse"))
    shut = {k: torch.full_like(t, -5.0) if k.endswith(":gate") else t for k, t in module.tensors.items()}
    with torch.no_grad():
        plain = made.subnet(made.space.full)(*inputs)
        assert torch.equal(with_plugs(made, made.space.full, [module.with_tensors(shut)])(*inputs), plain)


class Tied(nn.Module):
    """Two linear layers of one weight, and one by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.wide, self.head = (nn.Linear(a, b) for a, b in ((6, 6), (6, 6), (6, 12), (12, 3)))
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.wide(torch.relu(self.second(torch.relu(self.first(x)))))))


def test_layers_that_share_their_tensors_are_left_out_or_refused_by_name() -> None:
    core = ct.load(Tied().eval(), torch.randn(4, 6), class_names=("a", "b", "c"))
    data = [(*core.example_inputs, labels(core))]
    made = ct.prepare(core, data, points=(0.9,), epochs=0, criterion="magnitude-l2").supernet
    assert set(new_plug(made, "lora").places) == {"wide", "head"}
    with pytest.raises(InputError, match="'second', whose weight other layers have too"):
        new_plug(made, "lora", layers=["second"])


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        ("lora", {"layers": ["conv9"]}, "no part of a path"),
        ("lora", {"layers": ["norm1"]}, "does not suit"),
        ("lora", {"layers": "conv1"}, "a list of names"),
        ("lora", {"options": {"ranks": 4}}, "rank"),
        ("lora", {"options": {"rank": 0}}, "above 0"),
        ("lora", {"options": {"rank": 2.5}}, "int"),
        ("affine", {"options": {"rank": 2}}, "none"),
    ],
)
def test_what_cannot_be_is_refused_by_name(kind: str, given: dict[str, Any], says: str) -> None:
    made, _ = supernet("zoo:digits-cnn")
    with pytest.raises(InputError, match=says):
        new_plug(made, kind, **given)
    with pytest.raises(UnknownNameError, match="Did you mean 'lora'"):
        new_plug(made, "lorra")


@pytest.mark.parametrize("network", NETWORKS)
def test_scales_of_inputs_merge_and_act_on_all_that_others_add(network: str) -> None:
    made, inputs = supernet(network)
    plugs = [stirred(new_plug(made, "ia3", options={"inputs": i})) for i in (True, False)]
    plugs += [stirred(new_plug(made, kind)) for kind in ("adapter", "affine", "lora", "ia3")]
    for spec in specs(made, 2):
        attached, merged = with_plugs(made, spec, plugs), with_plugs(made, spec, plugs, merged=True)
        with torch.no_grad():
            one, other = attached(*inputs), merged(*inputs)
        assert float((one - other).abs().max()) <= 1e-4 * max(1.0, float(one.abs().max()))


def test_what_reads_inputs_that_another_scales_is_refused() -> None:
    made, _ = supernet("zoo:digits-cnn")
    plugs = [new_plug(made, "ia3", options={"inputs": True}), new_plug(made, "head", layers=["head"])]
    with pytest.raises(InputError, match="modules on layer 'head': got 'ia3' on its inputs and 'head'"):
        with_plugs(made, made.space.full, plugs)


class Padded(nn.Conv2d):
    """A convolution that pads by itself, as some libraries have."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))


def test_layers_that_compute_otherwise_than_torchs_own_are_left_alone() -> None:
    layers = (Padded(2, 2, 3), nn.MultiheadAttention(4, 1).out_proj, nn.ConvTranspose2d(2, 2, 3))
    for kind in ("lora", "sparse", "ia3"):
        assert not any(KINDS.get(kind)().suits(layer) for layer in layers)
        assert KINDS.get(kind)().suits(nn.Conv2d(2, 2, 3))


def test_merging_leaves_what_adds_computation_attached() -> None:
    made, inputs = supernet("zoo:digits-cnn")
    plugs = [stirred(new_plug(made, kind)) for kind in ("lora", "adapter", "affine")]
    attached, merged = (with_plugs(made, made.space.full, plugs, merged=m) for m in (False, True))
    with torch.no_grad():
        one, other = attached(*inputs), merged(*inputs)
    assert float((one - other).abs().max()) <= 1e-4 * max(1.0, float(one.abs().max()))


def test_a_head_answers_in_classes_of_its_own() -> None:
    made, inputs = supernet("zoo:digits-cnn")
    plug = stirred(new_plug(made, "head", layers=["head"], options={"classes": 4}))
    for spec in specs(made):
        assert with_plugs(made, spec, [plug])(*inputs).shape == (len(inputs[0]), 4)
