"""Kinds of attention: tables by position, one projection for all, few key heads, weights the other way round."""

from __future__ import annotations

import pytest
import torch
from tests.analyse.networks import core_of
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse import analyse
from concertina.types import Graph, Group

WIDTH, HEADS, SIZE, TOKENS = 16, 4, 4, 5


class Attention(nn.Module):
    """Attention with `key_heads` heads of keys and values; adds `bias` (heads, tokens, tokens) where one is given."""

    def __init__(self, key_heads: int = HEADS) -> None:
        super().__init__()
        self.head_size, self.all_head_size = SIZE, WIDTH
        self.q, self.o = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.k, self.v = nn.Linear(WIDTH, key_heads * SIZE), nn.Linear(WIDTH, key_heads * SIZE)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        q, k, v = (linear(x).unflatten(-1, (-1, SIZE)).transpose(1, 2) for linear in (self.q, self.k, self.v))
        k, v = (part.repeat_interleave(q.shape[1] // part.shape[1], dim=1) for part in (k, v))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2)
        return self.o(seen.reshape(*x.shape[:2], self.all_head_size))


class Fused(nn.Module):
    """Attention with one projection, each head's query, key and value side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.qkv, self.proj = HEADS, nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).unflatten(-1, (-1, 3 * SIZE)).transpose(1, 2)
        return self.proj(F.scaled_dot_product_attention(*parts.chunk(3, dim=-1)).transpose(1, 2).flatten(2))


class Chunked(Fused):
    """The same with all queries first, then all keys, then all values: a head owns three runs of the projection."""

    def forward(self, x: Tensor) -> Tensor:
        parts = [part.unflatten(-1, (-1, SIZE)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)]
        return self.proj(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class Turned(nn.Module):
    """A linear layer that keeps its weight as (inputs, outputs)."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.nf, self.nx = outputs, inputs
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], self.nf)


class Block(nn.Module):
    """Attention, with a table of its own where asked for, and a gated feed-forward, over shortcuts."""

    def __init__(self, attention: nn.Module, *, own_table: bool = False) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(WIDTH), attention, nn.LayerNorm(WIDTH)
        self.gate, self.up, self.down = nn.Linear(WIDTH, 24), nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)
        self.table = nn.Parameter(torch.randn(2 * TOKENS - 1, HEADS)) if own_table else None

    def forward(self, x: Tensor, *bias: Tensor) -> Tensor:
        given = bias if self.table is None else (by_distance(self.table),)
        x = x + self.attention(self.norm1(x), *given)
        normed = self.norm2(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


def by_distance(table: Tensor) -> Tensor:
    """Return (heads, tokens, tokens) of a table (distances, heads)."""
    places = torch.arange(TOKENS)
    return table[places[:, None] - places[None] + TOKENS - 1].permute(2, 0, 1)


class Network(nn.Module):
    """Blocks between two linear layers, with a table that all blocks read where asked for."""

    def __init__(self, *blocks: Block, shared_table: bool = False) -> None:
        super().__init__()
        self.embed, self.blocks, self.head = nn.Linear(6, WIDTH), nn.ModuleList(blocks), nn.Linear(WIDTH, 3)
        self.table = nn.Embedding(2 * TOKENS - 1, HEADS) if shared_table else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        places = torch.arange(2 * TOKENS - 1)
        given = () if self.table is None else (by_distance(self.table(places)),)
        for block in self.blocks:
            x = block(x, *given)
        return self.head(x.mean(1))


def found(*blocks: Block, shared_table: bool = False) -> Graph:
    torch.manual_seed(0)
    return analyse(core_of(Network(*blocks, shared_table=shared_table), 2, TOKENS, 6), time_limit_s=8)


def heads_of(graph: Graph) -> list[Group]:
    return [group for group in graph.elastic_groups if group.name.endswith("attention")]


def test_a_table_beside_attention_goes_along_with_its_heads() -> None:
    groups = heads_of(found(Block(Attention(), own_table=True), Block(Attention(), own_table=True)))
    assert [group.units for group in groups] == [HEADS, HEADS]
    for i, group in enumerate(groups):
        assert (f"blocks.{i}.table", 1, 1) in {(m.tensor, m.dim, m.positions) for m in group.members}
        assert {a.attribute for a in group.attributes if a.module.endswith("attention")} == {"all_head_size"}


def test_heads_that_share_a_table_are_one_group() -> None:
    (group,) = heads_of(found(Block(Attention()), Block(Attention()), shared_table=True))
    tensors = {member.tensor for member in group.members}
    assert {"table.weight", "blocks.0.attention.q.weight", "blocks.1.attention.o.weight"} <= tensors
    assert any(a.attribute == "embedding_dim" for a in group.attributes)


def test_one_projection_for_all_is_elastic_however_the_heads_lie_in_it() -> None:
    (group,) = heads_of(found(Block(Fused())))
    assert {(m.tensor.rpartition("attention.")[2], m.positions) for m in group.members} == {
        ("qkv.weight", 3 * SIZE), ("qkv.bias", 3 * SIZE), ("proj.weight", SIZE),
    }  # fmt: skip
    (group,) = heads_of(found(Block(Chunked())))
    runs = {(m.tensor.rpartition("attention.")[2], m.positions, m.start, m.of) for m in group.members}
    assert {("qkv.weight", SIZE, 0, 48), ("qkv.weight", SIZE, 16, 48), ("qkv.weight", SIZE, 32, 48)} <= runs


@pytest.mark.parametrize("key_heads", [1, 2])
def test_few_key_heads_hide_no_other_group(key_heads: int) -> None:
    graph = found(Block(Attention(key_heads)), Block(Attention(key_heads)))
    assert not any("did not end" in group.rigid for group in graph.groups)  # as it does without stand-ins
    names = {group.name: group.units for group in graph.elastic_groups}
    assert {"embed": WIDTH, "blocks.0.gate": 24, "blocks.1.gate": 24}.items() <= names.items()
    assert [group.units for group in heads_of(graph)] == ([key_heads] * 2 if key_heads > 1 else [])


def test_a_weight_kept_the_other_way_round_is_a_linear_layer() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), Turned(12, 8), nn.ReLU(), Turned(5, 12), nn.ReLU(), nn.Linear(5, 3)
    )
    graph = analyse(core_of(network, 2, 6), time_limit_s=8)
    assert {group.name: group.units for group in graph.elastic_groups} == {"0": 8, "2": 12, "4": 5}
    middle = next(group for group in graph.groups if group.name == "2")
    assert {(m.tensor, m.dim, m.role) for m in middle.members} == {
        ("2.weight", 1, "out"), ("2.bias", 0, "out"), ("4.weight", 0, "in"),
    }  # fmt: skip
    assert {(a.module, a.attribute) for a in middle.attributes} == {("2", "nf"), ("4", "nx")}
