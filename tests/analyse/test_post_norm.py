"""Post-norm transformers: layers that end with a normalisation can be skipped, and every head is verified."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.analyse.networks import core_of
from torch import Tensor, nn

import concertina as ct
from concertina.analyse import analyse
from concertina.analyse.blocks import skipping
from concertina.types import Block

SMALL = "zoo:sentence-encoder@vocabulary=40,positions=12,width=16,layers=4,heads=4,inner=32,outputs=16"


def test_layers_and_their_attention_are_skippable_and_all_widths_elastic() -> None:
    graph = analyse(ct.load(SMALL, weights="random"))
    assert [block.path for block in graph.elastic_blocks] == [
        f"encoder.layer.{i}{part}" for i in range(4) for part in ("", ".attention")
    ]
    rigid = {group.name: group.rigid for group in graph.groups if not group.elastic}
    assert rigid == {"head": "it is the network's output"}
    heads = [group for group in graph.elastic_groups if group.name.endswith("attention.self")]
    assert [group.units for group in heads] == [4] * 4  # of the last layer too, where tokens are much alike


def test_a_skipped_layer_hands_on_what_it_was_given() -> None:
    module = ct.load(SMALL, weights="random").module
    ids = torch.tensor([[3, 4, 5]])
    shorter = ct.load(SMALL.replace("layers=4", "layers=3"), weights="random").module
    kept = {name: t for name, t in module.state_dict().items() if ".layer.1." not in name}
    shorter.load_state_dict(
        {name.replace("layer.2.", "layer.1.").replace("layer.3.", "layer.2."): t for name, t in kept.items()}
    )
    with torch.no_grad(), skipping(module, [Block("encoder.layer.1", ())]):
        assert torch.allclose(module(ids), shorter(ids), atol=1e-6)


class PostNorm(nn.Module):
    """A linear layer over a shortcut, normalised at the end."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.fc1, self.fc2, self.norm = nn.Linear(width, 16), nn.Linear(16, width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.fc2(torch.relu(self.fc1(x))))


def test_a_post_norm_block_whose_input_is_not_normalised_is_rigid() -> None:
    first = nn.Sequential(nn.Linear(6, 8), PostNorm(), PostNorm(), nn.Linear(8, 3))
    graph = analyse(core_of(first, 2, 6))
    judged = {block.path: block.elastic for block in graph.blocks}
    assert judged == {"1": False, "2": True}


def test_a_normalisation_that_leaves_the_shortcut_out_is_no_block() -> None:
    class NoShortcut(PostNorm):
        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.fc2(torch.relu(self.fc1(x))))

    graph = analyse(core_of(nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), NoShortcut(), nn.Linear(8, 3)), 2, 6))
    assert not graph.elastic_blocks


class Paired(nn.Module):
    """A residual block that gives its result as the first of a tuple, like the layers of transformers."""

    def __init__(self, extra: int, width: int = 8) -> None:
        super().__init__()
        self.fc1, self.fc2, self.extra = nn.Linear(width, 16), nn.Linear(16, width), extra

    def forward(self, x: Tensor, _mask: Tensor | None = None) -> tuple[Tensor | None, ...]:
        return (x + self.fc2(torch.relu(self.fc1(x))), *[None] * self.extra)


class Stack(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.embed, self.blocks, self.head = nn.Linear(6, 8), nn.ModuleList(blocks), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x, *_ = block(x)
        return self.head(x)


def test_blocks_that_give_a_tuple_are_skipped_in_kind_and_stored(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Stack(Paired(0), Paired(1))
    core = ct.load(network, torch.randn(2, 6), class_names=("a", "b", "c"))
    graph = analyse(core)
    assert [(block.path, block.elastic, block.returns) for block in graph.blocks] == [
        ("blocks.0", True, 1), ("blocks.1", True, 2),
    ]  # fmt: skip
    data = [(torch.randn(4, 6), torch.tensor([0, 1, 2, i % 3])) for i in range(4)]
    family = ct.fit(core, data, points=(0.5,), epochs=0)
    smallest = family.supernet.subnet(family.supernet.space.smallest)
    assert smallest(torch.randn(4, 6)).shape == (4, 3)
    family.save(tmp_path / "s.concertina")
    opened = ct.open(tmp_path / "s.concertina", module=Stack(Paired(0), Paired(1)))
    assert opened.supernet.space == family.supernet.space
    x = torch.randn(4, 6)
    assert torch.equal(opened.at(0.5)(x), family.at(0.5)(x))


def test_a_block_that_gives_other_things_too_can_go_where_nobody_reads_them() -> None:
    class Telling(Paired):
        def forward(self, x: Tensor, _mask: Tensor | None = None) -> tuple[Tensor | None, ...]:
            return (*super().forward(x), x.mean())

    graph = analyse(core_of(Stack(Paired(0), Telling(0)), 2, 6))
    assert [(block.path, block.returns) for block in graph.elastic_blocks] == [("blocks.0", 1), ("blocks.1", 2)]
