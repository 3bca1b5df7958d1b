"""A small causal transformer whose heads, widths and depth can all shrink, with a cache for generation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.load.tokens import BYTE_IDS
from concertina.load.transformer import FeedForward, by_heads
from concertina.load.zoo.base import ZOO, ZooNetwork
from concertina.types import Preprocess

WAVELENGTH = 10_000.0
"""How many tokens the slowest turn of a head takes to come round, over two pi."""
START = 0.02
"""Standard deviation of fresh embeddings: small beside what the blocks add."""


class Sight(NamedTuple):
    """Where the tokens of a call stand, and what each may look at; the same for all blocks."""

    cosines: Tensor
    """Of the turns of each token, (tokens, 1, head_size / 2)."""
    sines: Tensor
    """Of the same turns, negated for the first halves of what is turned: (tokens, 2, head_size / 2)."""
    seen: Tensor
    """Whether a token looks at another, (tokens, cached tokens + tokens) bool."""


class Memory:
    """Turned keys and values that one block keeps, (batch, heads, tokens, head_size) each.

    What it holds comes from the block's own projections, so it has the heads that the (sub)network has.
    """

    def __init__(self) -> None:
        self.held: tuple[Tensor, Tensor] | None = None

    def add(self, keys: Tensor, values: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Return everything held together with what is new; keep the last `most` tokens of that."""
        if self.held is not None:
            keys, values = (torch.cat(pair, dim=2) for pair in zip(self.held, (keys, values), strict=True))
        first = max(0, keys.shape[2] - most)
        self.held = keys[:, :, first:], values[:, :, first:]
        return keys, values


class Cache:
    """What a decoder keeps of the tokens it has read, so that each is read once: one `Memory` a block.

    A block that was taken out leaves its memory empty.
    """

    def __init__(self, blocks: int) -> None:
        self.num_tokens = 0
        """Tokens read so far."""
        self.memories = tuple(Memory() for _ in range(blocks))


class Attention(nn.Module):
    """Causal self-attention with turned queries and keys; the number of heads follows from the projections' width.

    Args:
        width: Width of the stream.
        heads: Number of heads; `width / heads` is the fixed size of one.
        context: Tokens that a token looks at, itself included.
    """

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is no multiple of {heads} heads of an even size")
        self.head_size, self.context = width // heads, context
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, sight: Sight, memory: Memory | None = None) -> Tensor:
        """Return what each token of x (batch, tokens, width) gathers from those it looks at, (batch, tokens, width)."""
        q, k, v = (by_heads(linear(x), self.head_size) for linear in (self.q, self.k, self.v))
        q, k = turned(q, sight), turned(k, sight)
        if memory is not None:
            k, v = memory.add(k, v, self.context - 1)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=sight.seen)
        return self.proj(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and feed-forward, each after a layer norm and over a shortcut: (batch, tokens, width)."""

    def __init__(self, width: int, heads: int, inner: int, context: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, context)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, inner)

    def forward(self, x: Tensor, sight: Sight, memory: Memory | None = None) -> Tensor:
        """Return `x` plus what both halves add; `memory` is read and written where there is one."""
        x = x + self.attention(self.norm1(x), sight, memory)
        return x + self.mlp(self.norm2(x))


class TinyDecoder(nn.Module):
    """Small causal transformer for language modelling, pre-norm, with rotary positions: made for bytes of text.

    Each token looks at the last `context` tokens, itself included, so texts of any length can be read and written.

    Args:
        vocabulary: Number of token ids; 256 for bytes.
        context: Tokens that a token looks at, and those of the example inputs: MACs are told for so many.
        width: Width of the stream; a multiple of twice `heads`.
        depth: Number of blocks.
        heads: Attention heads per block.
        inner: Width of the feed-forward layers.

    Source: Vaswani et al. 2017 (arXiv 1706.03762); rotary positions of Su et al. 2021 (arXiv 2104.09864); attention
        over the last tokens alone of Beltagy et al. 2020 (arXiv 2004.05150).
    """

    def __init__(
        self,
        vocabulary: int = BYTE_IDS,
        context: int = 128,
        width: int = 96,
        depth: int = 4,
        heads: int = 4,
        inner: int = 384,
    ) -> None:
        super().__init__()
        self.context, self.num_turns = context, width // heads // 2
        self.embed = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embed.weight, std=START)
        self.blocks = nn.ModuleList(Block(width, heads, inner, context) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return logits (batch, tokens, vocabulary) for what follows each of token ids (batch, tokens).

        With a cache `ids` go on where the last call stopped, and the cache keeps what the next one needs.
        """
        sight = self._sight(ids, cache.num_tokens if cache is not None else 0)
        memories = cache.memories if cache is not None else (None,) * len(self.blocks)
        x = self.embed(ids)
        for block, memory in zip(self.blocks, memories, strict=True):
            x = block(x, sight, memory)
        if cache is not None:
            cache.num_tokens += ids.shape[1]
        return self.head(self.norm(x))

    def new_cache(self) -> Cache:
        """Return an empty cache, for `forward` to fill."""
        return Cache(len(self.blocks))

    def _sight(self, ids: Tensor, read: int) -> Sight:
        """Return where tokens (batch, tokens) stand behind `read` others, of which the cache holds the last ones."""
        held = min(read, self.context - 1)
        places = torch.arange(read - held, read + ids.shape[1], device=ids.device)
        behind = places[held:, None] - places[None, :]
        speeds = WAVELENGTH ** (-torch.arange(self.num_turns, device=ids.device) / self.num_turns)
        angles = (places[held:, None] * speeds)[:, None, :]
        sines = torch.cat([-angles.sin(), angles.sin()], dim=1)
        return Sight(angles.cos(), sines, (behind >= 0) & (behind < self.context))


def turned(x: Tensor, sight: Sight) -> Tensor:
    """Return queries or keys (batch, heads, tokens, head_size), their two halves turned by each token's place."""
    halves = x.unflatten(-1, (2, -1))
    return (halves * sight.cosines.to(x.dtype) + halves.flip(-2) * sight.sines.to(x.dtype)).flatten(-2)


def _shape(context: int, **_: object) -> tuple[int, ...]:
    return (context,)


ZOO.register(
    "tiny-decoder",
    source="Vaswani et al. 2017, Attention Is All You Need (arXiv 1706.03762), decoder alone",
    licence="CC-BY-SA-3.0",
    year=2017,
)(
    ZooNetwork(
        TinyDecoder, _shape, Preprocess(), task="language", tokens="vocabulary", weights="tiny-decoder.safetensors"
    )
)
