"""A BERT encoder that turns token ids into one embedding a sentence; takes the weights of MiniLM and its like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.load.transformer import by_heads
from concertina.load.zoo.base import ZOO, ZooNetwork
from concertina.types import Preprocess

EPS = 1e-12
"""What layer norms add to the variance."""
HEAD = "head.weight"
LEFT_OUT = ("pooler.", "cls.", "embeddings.position_ids")
"""How the tensors of a BERT checkpoint begin that the encoder has no use for."""
EXAMPLE_TOKENS = 32
"""Tokens of the example inputs: MACs are told for sentences of this length."""


class Embeddings(nn.Module):
    """Words, positions and the first kind of segment, summed and normalised: (batch, tokens) -> (..., width)."""

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPS)

    def forward(self, ids: Tensor) -> Tensor:
        """Return one vector a token, (batch, tokens, width)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        segments = self.token_type_embeddings(torch.zeros_like(ids))
        return self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(places) + segments)


class SelfAttention(nn.Module):
    """Queries, keys and values; how many heads there are follows from their width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of {heads} heads")
        self.attention_head_size = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return what each token of x (batch, tokens, width) gathers from those `seen` (batch, 1, 1, tokens)."""
        q, k, v = (by_heads(linear(x), self.attention_head_size) for linear in (self.query, self.key, self.value))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)


class AddNorm(nn.Module):
    """A linear layer whose result is added to the stream, which is normalised then."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPS)

    def forward(self, inner: Tensor, x: Tensor) -> Tensor:
        """Return the stream (batch, tokens, width) after adding to it."""
        return self.LayerNorm(self.dense(inner) + x)


class Attention(nn.Module):
    """Self-attention and what it adds to the stream, (batch, tokens, width) in and out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self = SelfAttention(width, heads)
        self.output = AddNorm(width, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return the stream after attention."""
        return self.output(self.self(x, seen), x)


class Intermediate(nn.Module):
    """The first half of the feed-forward: (batch, tokens, width) -> (batch, tokens, inner)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated inner features."""
        return F.gelu(self.dense(x))


class Layer(nn.Module):
    """Attention and feed-forward, each followed by a layer norm over the shortcut."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.intermediate = Intermediate(width, inner)
        self.output = AddNorm(inner, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return the stream (batch, tokens, width) after both halves."""
        x = self.attention(x, seen)
        return self.output(self.intermediate(x), x)


class Encoder(nn.Module):
    """A stack of layers."""

    def __init__(self, width: int, heads: int, inner: int, layers: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return the stream (batch, tokens, width) after all layers."""
        for layer in self.layer:
            x = layer(x, seen)
        return x


class SentenceEncoder(nn.Module):
    """BERT encoder with mean pooling and a linear head, for embeddings of sentences; token id 0 is padding.

    Tensors are called as in BERT checkpoints (`encoder.layer.0.attention.self.query.weight`), which are taken as they
    are: `head.weight` is the identity where they have none, their pooler and what goes with other tasks is left out.

    Args:
        vocabulary: Number of token ids.
        positions: Most tokens of a sentence.
        width: Width of the stream; a multiple of `heads`.
        layers: Number of layers.
        heads: Attention heads a layer.
        inner: Width of the feed-forward layers.
        outputs: Length of an embedding.
    """

    def __init__(
        self,
        vocabulary: int = 30522,
        positions: int = 512,
        width: int = 384,
        layers: int = 6,
        heads: int = 12,
        inner: int = 1536,
        outputs: int = 384,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, positions, width)
        self.encoder = Encoder(width, heads, inner, layers)
        self.head = nn.Linear(width, outputs, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return embeddings (batch, outputs) of token ids (batch, tokens)."""
        seen = ids != 0
        seen[:, 0] = True  # a sentence without tokens has an answer too
        x = self.encoder(self.embeddings(ids), seen[:, None, None, :])
        weight = seen[:, :, None].to(x.dtype)
        return self.head((x * weight).sum(dim=1) / weight.sum(dim=1))


def _shape(positions: int, **_: object) -> tuple[int, ...]:
    return (min(EXAMPLE_TOKENS, positions),)


def _adapted(given: Mapping[str, Tensor], arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a BERT checkpoint as those of the encoder; an identity for the head that it lacks."""
    plain = {name.removeprefix("bert."): tensor for name, tensor in given.items()}
    kept = {name: tensor for name, tensor in plain.items() if not name.startswith(LEFT_OUT)}
    if HEAD not in kept and arguments["outputs"] == arguments["width"]:
        kept[HEAD] = torch.eye(arguments["width"])
    return kept


ZOO.register(
    "sentence-encoder",
    source="Reimers & Gurevych 2019, Sentence-BERT (arXiv 1908.10084), over Devlin et al. 2019 (arXiv 1810.04805)",
    year=2019,
)(ZooNetwork(SentenceEncoder, _shape, Preprocess(), task="similarity", tokens="vocabulary", adapt=_adapted))
