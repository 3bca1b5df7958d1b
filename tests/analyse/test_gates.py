"""Layers that make a gate and what it gates at once, and blocks that give or are asked for more than their answer."""

from __future__ import annotations

import pytest
import torch
from tests.analyse.networks import core_of
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse import analyse
from concertina.measure.cost import CostModel
from concertina.nest import Supernet, nest
from concertina.objective import Classification
from concertina.score import score
from concertina.types import Core, Graph, Group

WIDTH, INNER = 12, 16


class Gated(nn.Module):
    """A feed-forward whose first layer makes gates and values: one after the other, or in turn."""

    def __init__(self, *, in_turn: bool = False, kinds: int = 2) -> None:
        super().__init__()
        self.norm, self.both, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, kinds * INNER), nn.Linear(INNER, WIDTH)
        self.in_turn, self.kinds = in_turn, kinds

    def forward(self, x: Tensor) -> Tensor:
        made = self.both(self.norm(x))
        parts = made.unflatten(-1, (-1, self.kinds)).unbind(-1) if self.in_turn else made.chunk(self.kinds, dim=-1)
        inner = F.gelu(parts[0])
        for part in parts[1:]:
            inner = inner * part
        return x + self.down(inner)


class Net(nn.Module):
    """Blocks between a first and a last layer."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = nn.Linear(6, WIDTH), nn.ModuleList(blocks), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = self.call(block, x)
        return self.head(x)

    def call(self, block: nn.Module, x: Tensor) -> Tensor:
        """Return what a block gives."""
        found: Tensor = block(x)
        return found


def graph_of(network: nn.Module) -> Graph:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return analyse(core_of(network, 3, 6), cache=False)


def gates(graph: Graph) -> list[Group]:
    return [group for group in graph.groups if any("both" in m.tensor and m.role == "out" for m in group.members)]


@pytest.mark.parametrize(("kinds", "in_turn"), [(2, False), (3, False), (2, True)])
def test_gates_and_what_they_gate_go_together_and_every_size_runs(kinds: int, in_turn: bool) -> None:
    network = Net(Gated(kinds=kinds, in_turn=in_turn))
    core, graph = core_of(network, 3, 6), graph_of(network)
    (group,) = gates(graph)
    assert group.elastic
    assert group.units == INNER
    starts = sorted(m.start for m in group.members if m.tensor == "blocks.0.both.weight")
    assert starts == ([0] if in_turn else [INNER * i for i in range(kinds)])
    supernet, name = nested(core, graph), f"width:{group.name}"
    subnet = supernet.subnet(supernet.space.full.with_choice(name, supernet.space.smallest[name]))
    kept = subnet.blocks[0].down.in_features
    assert kept < INNER
    assert subnet.blocks[0].both.out_features == kinds * kept == len(subnet.blocks[0].both.weight)
    assert subnet(*core.example_inputs).shape == (3, 3)


def nested(core: Core, graph: Graph) -> Supernet:
    return nest(core, graph, score(core, graph, Classification(), [], criterion="magnitude-l2"), CostModel.of)


class Telling(Gated):
    """A block that gives its inner features beside its answer."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(x), self.norm(x)


class Reading(Net):
    """Takes the first thing that a block gives."""

    def call(self, block: nn.Module, x: Tensor) -> Tensor:
        found: Tensor = block(x)[0]
        return found


class Listening(Net):
    """Takes the other thing too."""

    def call(self, block: nn.Module, x: Tensor) -> Tensor:
        first, second = block(x)
        return first + second.mean()


def test_what_a_block_gives_beside_its_answer_may_go_where_nobody_reads_it() -> None:
    (block,) = graph_of(Reading(Telling())).blocks
    assert block.elastic
    assert block.returns == 2
    assert all(not block.elastic for block in graph_of(Listening(Telling())).blocks)


class Kinds(Gated):
    """A block that says what kind it is."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind


class Asking(Net):
    """Asks each block for its kind before it is called."""

    def call(self, block: nn.Module, x: Tensor) -> Tensor:
        found: Tensor = block(x if block.kind == "global" else x.clone())
        return found


def test_blocks_that_are_asked_for_a_plain_value_can_go() -> None:
    network = Asking(Kinds("local"), Kinds("global"))
    core, graph = core_of(network, 3, 6), graph_of(network)
    assert [block.path for block in graph.elastic_blocks] == ["blocks.0", "blocks.1"]
    supernet = nested(core, graph)
    assert supernet.subnet(supernet.space.smallest)(*core.example_inputs).shape == (3, 3)
