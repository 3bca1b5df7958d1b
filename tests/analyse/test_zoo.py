"""What the analysis finds in the networks of the zoo."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

import concertina as ct
from concertina.analyse import analyse
from concertina.types import Core, Graph

OUTPUT = "it is the network's output"


@cache
def zoo(name: str, seed: int = 0) -> tuple[Core, Graph]:
    core = ct.load(f"zoo:{name}", weights="random")
    return core, analyse(core, seed=seed)


def reasons(graph: Graph) -> dict[str, str]:
    return {group.name: group.rigid for group in graph.groups if group.rigid}


def test_every_hidden_layer_of_an_mlp_is_elastic_and_its_output_is_not() -> None:
    _, graph = zoo("mlp")
    assert [(group.name, group.units) for group in graph.elastic_groups] == [
        ("layers.0", 128),
        ("layers.1", 128),
        ("layers.2", 64),
    ]
    assert reasons(graph) == {"head": OUTPUT}
    assert graph.blocks == ()


def test_streams_and_inner_widths_and_blocks_of_the_digits_network_are_elastic() -> None:
    _, graph = zoo("digits-cnn")
    streams = ["stem.conv", "downs.0.conv", "downs.1.conv"]
    inner = [f"stages.{stage}.{block}.conv1" for stage in range(3) for block in range(2)]
    assert [group.name for group in graph.elastic_groups] == [*streams, *inner]
    assert reasons(graph) == {"head": OUTPUT}
    assert [block.path for block in graph.elastic_blocks] == [f"stages.{s}.{b}" for s in range(3) for b in range(2)]


def test_zero_padded_shortcuts_put_the_first_stream_into_the_middle_of_the_others() -> None:
    core, graph = zoo("cifar-resnet20")
    assert_option_a(graph, blocks=3)
    runs = {(m.tensor, m.start, m.of) for m in graph.elastic_groups[0].members if m.of}
    assert {("layer2.0.conv2.weight", 8, 32), ("layer3.2.bn2.running_var", 24, 64), ("linear.weight", 24, 64)} <= runs
    assert core.module.layer2[0].conv1.out_channels == 32


@pytest.mark.slow
def test_the_deep_residual_network_has_28_elastic_groups() -> None:
    _, graph = zoo("cifar-resnet56")
    assert_option_a(graph, blocks=9)


@pytest.mark.real
def test_real_weights_give_what_random_ones_give(real_data: Path) -> None:
    core = ct.load("zoo:cifar-resnet20", weights=real_data / "resnet20-cifar10.safetensors")
    graph = analyse(core)
    assert_option_a(graph, blocks=3)
    assert graph == zoo("cifar-resnet20")[1]


def assert_option_a(graph: Graph, blocks: int) -> None:
    """Assert what must hold for an option-A residual network with so many blocks a stage."""
    places = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(blocks)]
    assert [group.name for group in graph.elastic_groups] == ["conv1", *(f"{place}.conv1" for place in places)]
    assert reasons(graph) == {"linear": OUTPUT}
    changing = ["layer2.0", "layer3.0"]
    assert [block.path for block in graph.elastic_blocks] == [place for place in places if place not in changing]
    assert {block.path for block in graph.blocks if block.rigid} == set(changing)
    assert all("it turns shape" in block.rigid for block in graph.blocks if block.rigid)


def test_stream_heads_mlps_and_blocks_of_the_vision_transformer_are_elastic() -> None:
    core, graph = zoo("tiny-vit")
    groups = {group.name: group for group in graph.groups}
    assert reasons(graph) == {"head": OUTPUT}
    stream = {(member.tensor, member.dim) for member in groups["embed"].members}
    assert {("position", 2), ("embed.weight", 0), ("norm.weight", 0), ("head.weight", 1)} <= stream
    for block in range(4):
        heads = groups[f"blocks.{block}.attention"]
        assert heads.units == 4
        assert {member.positions for member in heads.members} == {core.module.embed.out_channels // 4}
        assert groups[f"blocks.{block}.mlp.fc1"].units == 96
    assert [block.path for block in graph.elastic_blocks] == [f"blocks.{index}" for index in range(4)]
    assert all(tensor.startswith("blocks.2.") for tensor in graph.blocks[2].tensors)


@pytest.mark.parametrize("name", ["mlp", "digits-cnn", "cifar-resnet20", "tiny-vit"])
def test_members_fit_their_tensors_and_no_tensor_side_is_listed_twice(name: str) -> None:
    core, graph = zoo(name)
    tensors = {**dict(core.module.named_parameters()), **dict(core.module.named_buffers())}
    sides = [(member.tensor, member.dim, member.start) for group in graph.groups for member in group.members]
    assert len(sides) == len(set(sides))
    for group in graph.groups:
        in_runs = any(member.of for member in group.members)
        for member in group.members:
            length, owned = tensors[member.tensor].shape[member.dim], group.units * member.positions
            assert length == (member.of or owned)
            assert member.start + owned <= length
        for declared in group.attributes:
            value = getattr(core.module.get_submodule(declared.module), declared.attribute)
            held = value[declared.index] if declared.index >= 0 else value
            owned = group.units * declared.positions
            assert held == owned or (in_runs and held > owned)


@pytest.mark.parametrize("name", ["mlp", "digits-cnn", "tiny-vit"])
def test_every_seed_gives_the_same_answer(name: str) -> None:
    assert zoo(name, seed=1)[1] == zoo(name)[1] == zoo(name, seed=2)[1]
