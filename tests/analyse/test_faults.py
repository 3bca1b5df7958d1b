"""Planted faults: a group that is wrong in any way must not pass, however well the fault is hidden."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations

import pytest
import torch
from tests.analyse.networks import SEARCH_S, SOUND, TOKENS, LayerScaled, Parallel, ScaledBlock, core_of

import concertina as ct
from concertina.analyse import analyse
from concertina.analyse.probe import Probe
from concertina.analyse.units import moved
from concertina.analyse.verify import verify_group
from concertina.types import Core, Graph, Group, Member

NETWORKS = [name for name in SOUND if name not in ("branch", "torch attention")]


@cache
def subject(name: str) -> tuple[Probe, Graph]:
    torch.manual_seed(0)
    make, shape = SOUND.get(name, (None, ()))
    core: Core = ct.load(f"zoo:{name}", weights="random") if make is None else core_of(make(), *shape)
    return Probe.of(core), analyse(core, time_limit_s=SEARCH_S)


def group_of(graph: Graph, name: str) -> Group:
    return next(group for group in graph.groups if group.name == name)


def without(group: Group, tensor: str) -> Group:
    return replace(group, members=tuple(member for member in group.members if member.tensor != tensor))


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_found_pass_again_when_handed_to_the_judge(name: str) -> None:
    probe, graph = subject(name)
    assert len(graph.elastic_groups) > 0
    for group in graph.elastic_groups:
        assert verify_group(probe, group).group == group


@pytest.mark.parametrize("name", NETWORKS)
def test_every_member_left_out_is_caught(name: str) -> None:
    probe, graph = subject(name)
    for group in graph.elastic_groups:
        for member in group.members:
            fewer = replace(group, members=tuple(other for other in group.members if other != member))
            assert verify_group(probe, fewer).group.rigid, f"{member.tensor} left out of {group.name}"


def test_a_wrong_group_behind_a_tiny_layer_scale_is_caught_though_real_weights_hide_it() -> None:
    torch.manual_seed(0)
    core = core_of(LayerScaled(), *TOKENS)
    stream = group_of(analyse(core), "embed")
    wrong = without(stream, "blocks.1.fc1.weight")
    order = torch.arange(8).roll(1)
    tensors = dict(core.module.named_parameters())
    with torch.no_grad():
        before = core.module(*core.example_inputs)
        for name, value in moved({n: t.detach().clone() for n, t in tensors.items()}, wrong.members, order).items():
            tensors[name].copy_(value)
        after = core.module(*core.example_inputs)
    hidden = float((after - before).abs().max() / before.abs().max())
    assert hidden < 1e-4
    verdict = verify_group(Probe.of(core), wrong).group
    assert verdict.rigid == "permute: reordering its units changes what 'blocks.1.fc1' computes"


@pytest.mark.parametrize("name", [*NETWORKS, "digits-cnn"])
def test_two_groups_merged_are_caught(name: str) -> None:
    probe, graph = subject(name)
    for first, second in combinations(graph.elastic_groups[:6], 2):
        if first.units == second.units:
            merged = Group(
                first.name,
                first.units,
                (*first.members, *second.members),
                (*first.attributes, *second.attributes),
            )
            assert "several groups" in verify_group(probe, merged).group.rigid, f"{first.name} with {second.name}"


def test_groups_side_by_side_are_told_apart() -> None:
    probe, graph = subject("parallel")
    up1, up2 = group_of(graph, "up1"), group_of(graph, "up2")
    merged = replace(up1, members=(*up1.members, *up2.members), attributes=(*up1.attributes, *up2.attributes))
    why = "control: 'up1.weight' can be reordered without 'up2.weight': these are several groups"
    assert verify_group(probe, merged).group.rigid == why
    assert isinstance(probe.module, Parallel)


def test_a_stream_merged_with_an_inner_group_is_caught() -> None:
    probe, graph = subject("digits-cnn")
    stream, inner = group_of(graph, "downs.1.conv"), group_of(graph, "stages.2.0.conv1")
    merged = replace(
        stream, members=(*inner.members, *stream.members), attributes=(*inner.attributes, *stream.attributes)
    )
    assert "several groups" in verify_group(probe, merged).group.rigid


@pytest.mark.parametrize("name", ["counted heads", "tiny-vit"])
@pytest.mark.parametrize("finer", [2, 4])
def test_heads_split_wrongly_are_caught(name: str, finer: int) -> None:
    probe, graph = subject(name)
    heads = next(group for group in graph.groups if group.name.endswith("attention"))
    split = replace(
        heads,
        units=heads.units * finer,
        members=tuple(replace(member, positions=member.positions // finer) for member in heads.members),
    )
    assert verify_group(probe, split).group.rigid.startswith("permute: ")


def test_query_heads_without_their_shared_key_heads_are_caught() -> None:
    probe, graph = subject("grouped queries")
    heads = group_of(graph, "blocks.0.attention")
    assert heads.units == 2
    queries = tuple(
        replace(m, positions=4) for m in heads.members if "k_proj" not in m.tensor and "v_proj" not in m.tensor
    )
    assert verify_group(probe, replace(heads, units=4, members=queries)).group.rigid.startswith("permute: ")


def test_a_member_too_many_is_caught() -> None:
    probe, graph = subject("layer scale")
    inner = group_of(graph, "blocks.0.fc1")
    stranger = Member("blocks.1.fc2.weight", 1, "in")
    verdict = verify_group(probe, replace(inner, members=(*inner.members, stranger))).group
    assert verdict.rigid.startswith("permute: ")
    assert "blocks.1" in verdict.rigid


def test_a_member_without_effect_is_caught() -> None:
    class Idle(ScaledBlock):
        def __init__(self) -> None:
            super().__init__(12, 16)
            self.idle = torch.nn.Parameter(torch.ones(16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).mean(1)

    core = core_of(Idle(), *TOKENS)
    inner = group_of(analyse(core), "fc1")
    assert inner.elastic
    idle = replace(inner, members=(*inner.members, Member("idle", 0, "norm")))
    why = "control: 'idle' makes no difference, so it may not belong to the group"
    assert verify_group(Probe.of(core), idle).group.rigid == why


def test_a_declared_size_left_out_is_caught() -> None:
    probe, graph = subject("group norm")
    group = group_of(graph, "conv1")
    fewer = replace(group, attributes=tuple(a for a in group.attributes if a.attribute != "num_groups"))
    assert verify_group(probe, fewer).group.rigid.startswith(("slice: ", "meaning: "))
