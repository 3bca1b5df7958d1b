"""Blocks that a network can do without, and those that only look like it."""

from __future__ import annotations

import pytest
import torch
from tests.analyse.networks import SEARCH_S, SOUND, TOKENS, Residual, ScaledBlock, core_of
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse import analyse
from concertina.analyse.blocks import skipping
from concertina.types import Block, Graph


def found(name: str) -> Graph:
    torch.manual_seed(0)
    make, shape = SOUND[name]
    return analyse(core_of(make(), *shape), time_limit_s=SEARCH_S)


def block_of(graph: Graph, path: str) -> Block:
    return next(block for block in graph.blocks if block.path == path)


def test_shared_doubled_and_oddly_called_blocks_are_rigid_with_their_reasons() -> None:
    graph = found("shared blocks")
    assert [block.path for block in graph.elastic_blocks] == ["free"]
    assert block_of(graph, "twice").rigid == "it is called 2 times"
    assert block_of(graph, "shared").rigid == "a tensor of it is also used outside, as 'sharing.fc1.weight'"
    assert "given by name" in block_of(graph, "keyword").rigid


def test_the_smallest_residual_modules_are_taken_and_nothing_inside_or_around_them() -> None:
    graph = found("wrapped")
    assert [block.path for block in graph.blocks] == ["stages.0.0", "stages.0.2", "stages.1.0"]
    assert all(block.elastic for block in graph.blocks)


def test_a_block_lists_its_own_tensors_and_its_groups_lie_inside_it() -> None:
    graph = found("layer scale")
    block = block_of(graph, "blocks.1")
    module = SOUND["layer scale"][0]()
    assert set(block.tensors) == {f"blocks.1.{name}" for name, _ in module.blocks[1].named_parameters()}
    inner = next(group for group in graph.groups if group.name == "blocks.1.fc1")
    assert {member.tensor for member in inner.members} <= set(block.tensors)


def test_batch_counters_belong_to_no_block() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.norm(self.conv(x))

    network = nn.Sequential(nn.Conv2d(3, 4, 1), Normed(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    graph = analyse(core_of(network, 2, 3, 6, 6))
    assert "1.norm.running_var" in graph.blocks[0].tensors
    assert not [name for name in graph.blocks[0].tensors if name.endswith("num_batches_tracked")]


@pytest.mark.parametrize("name", ["layer scale", "wrapped", "counted heads"])
def test_skipping_a_block_is_what_zero_weights_would_do(name: str) -> None:
    torch.manual_seed(0)
    make, shape = SOUND[name]
    core = core_of(make(), *shape)
    for block in analyse(core, time_limit_s=SEARCH_S).elastic_blocks:
        with torch.no_grad(), skipping(core.module, [block]):
            without = core.module(*core.example_inputs)
        named = dict(core.module.named_parameters())
        before = {tensor: named[tensor].detach().clone() for tensor in block.tensors}
        with torch.no_grad():
            for tensor in before:
                named[tensor].zero_()
            silent = core.module(*core.example_inputs)
            for tensor, value in before.items():
                named[tensor].copy_(value)
        torch.testing.assert_close(without, silent)


def test_blocks_are_not_found_in_plain_layers_scales_activations_and_tables() -> None:
    class Places(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(1, 6, 12))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.table

    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(12, 12)

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(self.fc(x))

    network = nn.Sequential(Places(), nn.Linear(12, 12), nn.PReLU(), Gate(), nn.LayerNorm(12), nn.Linear(12, 3))
    assert analyse(core_of(network, *TOKENS)).blocks == ()


def test_a_block_that_its_network_also_reads_directly_is_rigid() -> None:
    class Nosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(12, 8), nn.Linear(8, 5)
            self.used, self.read = ScaledBlock(), ScaledBlock()
            self.weights = [self.read.fc1.weight]

        def forward(self, x: Tensor) -> Tensor:
            x = self.read(self.used(self.embed(x)))
            return self.head(x + F.linear(x, self.weights[0]).mean(2, keepdim=True)).mean(1)

    graph = analyse(core_of(Nosy(), *TOKENS))
    assert block_of(graph, "used").elastic
    assert block_of(graph, "read").rigid == "the network uses it in another way than by calling it"


def test_blocks_that_cannot_all_go_are_sorted_out() -> None:
    class KeepsOne(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(12, 8), nn.Linear(8, 5)
            self.first, self.second = Residual(), Residual()

        def forward(self, x: Tensor) -> Tensor:
            if not isinstance(self.first, Residual) and not isinstance(self.second, Residual):
                raise ValueError("one block at least")
            return self.head(self.second(self.first(self.embed(x)))).mean(1)

    graph = analyse(core_of(KeepsOne(), *TOKENS))
    assert block_of(graph, "first").elastic
    assert "one block at least" in block_of(graph, "second").rigid
