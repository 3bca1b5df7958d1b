"""Copies that hold other tensors: structure, ties, gradients and declared sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.analyse.networks import IMAGES, SOUND, TOKENS, TiedLayers, core_of
from torch import nn

from concertina.analyse import analyse
from concertina.analyse.slicing import copy_with_tensors, fix_sizes, narrowed_copy, untied_copy
from concertina.errors import AnalysisError
from concertina.types import SizeAttribute


def test_named_tensors_are_put_in_and_all_else_is_copied() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    weight, mean = torch.ones(3, 4), torch.full((3,), 2.0)
    copied = copy_with_tensors(network, {"0.weight": weight, "1.running_mean": mean})
    assert copied[0].weight.data_ptr() == weight.data_ptr()
    assert isinstance(copied[0].weight, nn.Parameter)
    assert copied[1].running_mean is mean
    assert copied[0].bias is not network[0].bias
    assert list(copied.state_dict()) == list(network.state_dict())
    assert not copied.training


def test_ties_stay_ties_and_plain_attributes_follow() -> None:
    network = TiedLayers()
    network.kept = [network.up1.weight]
    copied = copy_with_tensors(network, {"up1.weight": torch.zeros(4, 8)})
    assert copied.up1.weight is copied.up2.weight
    assert copied.kept[0] is copied.up1.weight
    assert network.up1.weight.shape == (16, 8)
    apart = untied_copy(network)
    assert apart.up1.weight is not apart.up2.weight
    assert torch.equal(apart.up1.weight, apart.up2.weight)


def test_gradients_flow_through_narrowed_tensors_to_the_original() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    tensors = {"0.weight": network[0].weight[:3], "0.bias": network[0].bias[:3], "2.weight": network[2].weight[:, :3]}
    copy_with_tensors(network, tensors)(torch.randn(5, 4)).sum().backward()
    assert network[0].weight.grad[:3].abs().sum() > 0
    assert network[0].weight.grad[3:].abs().sum() == 0
    assert network[2].weight.grad[:, 3:].abs().sum() == 0
    leaf = torch.ones(6, requires_grad=True)
    copy_with_tensors(network, {"0.bias": leaf})(torch.ones(1, 4)).sum().backward()
    assert leaf.grad is not None


def test_a_tensor_that_is_not_there_is_refused() -> None:
    with pytest.raises(AnalysisError, match="Linear has no tensor of this name: got 'wait'"):
        copy_with_tensors(nn.Linear(2, 2), {"wait": torch.zeros(2)})


def test_sizes_inside_tuples_are_set_and_modules_that_are_gone_are_passed_over() -> None:
    network = nn.Sequential(nn.LayerNorm((3, 8)), nn.Linear(8, 2))
    declared = [
        SizeAttribute("0", "normalized_shape", positions=2, index=1),
        SizeAttribute("1", "in_features", positions=2),
        SizeAttribute("7.gone", "in_features"),
    ]
    fix_sizes(network, declared, 1)
    assert network[0].normalized_shape == (3, 6)
    assert network[1].in_features == 6


@given(st.data())
@pytest.mark.parametrize("name", ["grouped", "group norm", "flatten", "squeeze-excite", "tied layers"])
def test_a_slice_declares_its_sizes_and_equals_a_network_that_is_loaded_with_its_weights(
    name: str, data: st.DataObject
) -> None:
    core, graph = CASES[name]
    kept = {group.name: data.draw(st.integers(1, group.units), label=group.name) for group in graph.elastic_groups}
    small = narrowed_copy(core.module, graph.elastic_groups, kept)
    shared = {tensor.untyped_storage().data_ptr() for tensor in core.module.state_dict().values()}
    assert {tensor.untyped_storage().data_ptr() for tensor in small.state_dict().values()} <= shared
    for path, layer in small.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            rebuilt = rebuild(layer)
            rebuilt.load_state_dict(layer.state_dict())
            assert repr(rebuilt) == repr(layer), path
    with torch.no_grad():
        assert small(*core.example_inputs).shape == core.module(*core.example_inputs).shape


def rebuild(layer: nn.Module) -> nn.Module:
    """Return a fresh layer from what another one declares."""
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features, bias)
    sizes = (layer.in_channels, layer.out_channels, layer.kernel_size)
    return nn.Conv2d(*sizes, padding=layer.padding, groups=layer.groups, bias=bias)


def _case(name: str) -> tuple:
    torch.manual_seed(0)
    make, shape = SOUND[name]
    core = core_of(make(), *shape)
    return core, analyse(core)


CASES = {name: _case(name) for name in ("grouped", "group norm", "flatten", "squeeze-excite", "tied layers")}


def test_cases_cover_images_and_tokens() -> None:
    assert {SOUND[name][1] for name in CASES} == {IMAGES, TOKENS}
