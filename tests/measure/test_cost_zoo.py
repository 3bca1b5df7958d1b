"""Costs by formula equal torch's flop counter on subnets of the zoo as the builder makes them."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from concertina.load.zoo import ZOO
from concertina.measure.cost import CostModel
from concertina.nest import build, named_tensors
from concertina.types import Dim, Member, Role, Space, SubnetSpec


def sides(names: Iterable[str], dim: int, role: Role, positions: int = 1) -> tuple[Member, ...]:
    return tuple(Member(name, dim, role, positions) for name in names)


def norm(path: str) -> tuple[Member, ...]:
    return sides([f"{path}.{part}" for part in ("weight", "bias", "running_mean", "running_var")], 0, "norm")


def gate(net: nn.Module, path: str) -> Dim:
    inside = [name for name in named_tensors(net) if name.startswith(f"{path}.")]
    return Dim(f"depth:{path}", "depth", path, (0, 1), sides(inside, -1, "gate"))


def resnet_space(net: nn.Module) -> Space:
    """Return the widths inside the residual blocks, and the blocks that keep their shape."""
    dims = []
    for path, block in net.named_modules():
        if not (hasattr(block, "conv1") and hasattr(block, "conv2")):
            continue
        units = block.conv1.out_channels
        inner = (Member(f"{path}.conv1.weight", 0, "out"), Member(f"{path}.conv2.weight", 1, "in"))
        needs: tuple[str, ...] = ()
        if block.stride == 1:
            dims.append(gate(net, path))
            needs = (dims[-1].name,)
        choices = tuple(range(units // 8, units + 1, units // 8))
        dims.append(Dim(f"width:{path}", "width", path, choices, (*inner, *norm(f"{path}.bn1")), needs=needs))
    return Space(tuple(dims))


def vit_space(net: nn.Module) -> Space:
    """Return heads, feed-forward widths and blocks."""
    dims = []
    for number, block in enumerate(net.blocks):
        path, attention = f"blocks.{number}", block.attention
        needs = (f"depth:{path}",)
        size = attention.head_size
        heads = attention.q.out_features // size
        made = [f"{path}.attention.{name}.{part}" for name in "qkv" for part in ("weight", "bias")]
        members = (*sides(made, 0, "out", size), Member(f"{path}.attention.proj.weight", 1, "in", size))
        inner = block.mlp.fc1.out_features
        inside = sides([f"{path}.mlp.fc1.weight", f"{path}.mlp.fc1.bias"], 0, "out")
        reader = Member(f"{path}.mlp.fc2.weight", 1, "in")
        dims += [
            gate(net, path),
            Dim(f"width:{path}.a", "width", path, tuple(range(1, heads + 1)), members, needs=needs),
            Dim(f"width:{path}.m", "width", path, tuple(range(8, inner + 1, 8)), (*inside, reader), needs=needs),
        ]
    return Space(tuple(dims))


def counted(net: nn.Module, image: torch.Tensor) -> int:
    with torch.no_grad(), sdpa_kernel([SDPBackend.MATH]), FlopCounterMode(display=False) as counter:
        net(image)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("name", "space_of"), [("cifar-resnet20", resnet_space), ("tiny-vit", vit_space)])
def test_costs_equal_the_flop_counter_on_built_subnets(name: str, space_of) -> None:
    net = ZOO.get(name).build().eval()
    inputs = ZOO.get(name).example_inputs()
    space = space_of(net)
    costs, chance = CostModel.of(net, inputs, space), random.Random(11)
    drawn = [SubnetSpec.of({dim.name: chance.choice(dim.choices) for dim in space.dims}) for _ in range(10)]
    for spec in (space.full, space.check(space.smallest), *map(space.check, drawn)):
        subnet = build(net, space, spec)
        assert costs.macs(spec) == counted(subnet, inputs[0][:1]), spec.text
        assert costs.params(spec) == sum(p.numel() for p in subnet.parameters()), spec.text
        tensors = named_tensors(subnet).values()
        assert costs.size_bytes(spec) == sum(t.numel() * t.element_size() for t in tensors), spec.text


def test_a_spec_takes_few_steps_however_deep_the_network() -> None:
    net = ZOO.get("cifar-resnet56").build().eval()
    space = resnet_space(net)
    costs = CostModel.of(net, ZOO.get("cifar-resnet56").example_inputs(), space)
    widths = sum(not dim.is_gate for dim in space.dims)
    assert widths == 27
    assert len(costs.mac_terms) <= widths + 1
