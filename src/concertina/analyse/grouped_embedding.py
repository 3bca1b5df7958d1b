"""Embedding tables in groups of words by frequency, each written as two with a rank of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from concertina.analyse.factored import EXPAND, REDUCE, Factored, PairWay
from concertina.analyse.rewriting import WAYS
from concertina.errors import LoadError
from concertina.types import Rewrite

GROUPED = "grouped"
SHARES = (0.05, 0.15, 0.3, 0.5)
"""Shares of the words in the groups, the most frequent first."""


class GroupedEmbedding(nn.Module):
    """A table of embeddings as several: words in order of frequency, each group a short table and a layer behind it.

    Args:
        groups: (words, rank) of each group, the most frequent words first.
        width: Numbers in an embedding.
        place: Device and dtype of the values.
    """

    places: Tensor
    """Word -> its place in the order of frequency, (words,)."""

    def __init__(self, groups: Sequence[tuple[int, int]], width: int, **place: Any) -> None:
        super().__init__()
        self.sizes = tuple(size for size, _ in groups)
        self.embedding_dim, self.num_embeddings = width, sum(self.sizes)
        pairs = (
            Factored(
                nn.Embedding(size, rank, **place),
                nn.Linear(rank, width, bias=False, **place),
                "table",
            )
            for size, rank in groups
        )
        self.groups = nn.ModuleList(pairs)
        self.register_buffer("places", torch.arange(self.num_embeddings, device=place.get("device")))

    @property
    def weight(self) -> Tensor:
        """The whole table (words, width), in the words' own order."""
        tables = [group.weight for group in self.groups if isinstance(group, Factored)]
        return torch.cat(tables)[self.places]

    def forward(self, words: Tensor) -> Tensor:
        """Return embeddings (..., width) of word numbers (...)."""
        places, start = self.places[words], 0
        total: Any = 0.0
        for size, group in zip(self.sizes, self.groups, strict=True):
            inside = (places >= start) & (places < start + size)
            local = (places - start).clamp(0, size - 1)
            total = total + group(local) * inside.unsqueeze(-1)
            start += size
        found: Tensor = total
        return found


@WAYS.register("table", source="truncated singular value decomposition, Eckart and Young 1936", year=1936)
class Table(PairWay):
    """A table of embeddings as a narrower one and a layer behind it; a part of `grouped`."""

    def fits(self, layer: nn.Module) -> bool:
        """Return whether it is a plain table."""
        return type(layer) is nn.Embedding and layer.max_norm is None and not layer.scale_grad_by_freq

    def build(self, layer: nn.Embedding, how: Rewrite) -> nn.Module:
        """Return the pair; values do not matter."""
        words, width = layer.weight.shape
        reduce = nn.Embedding(words, how.rank, device=layer.weight.device, dtype=layer.weight.dtype)
        expand = nn.Linear(how.rank, width, bias=False, device=layer.weight.device, dtype=layer.weight.dtype)
        return Factored(reduce, expand, "table")

    def limits(self, layer: nn.Embedding) -> tuple[int, int]:
        """Return words and width."""
        return layer.num_embeddings, layer.embedding_dim

    def weight(self, reduce: Tensor, expand: Tensor) -> Tensor:
        """Return the table (words, width)."""
        return reduce @ expand.T


@WAYS.register(GROUPED, source="GroupReduce, Chen et al. 2018 (arXiv:1806.06950)", methods=("000-03",), year=2018)
class Grouped(Table):
    """A table of embeddings in groups of words by frequency."""

    def build(self, layer: nn.Embedding, how: Rewrite) -> nn.Module:
        """Return the groups; values do not matter.

        Raises:
            LoadError: The groups do not hold as many words as the table.
        """
        sizes = [size for size, _ in how.groups]
        ranks = [rank for _, rank in how.groups]
        if sum(sizes) != layer.num_embeddings or min((*sizes, *ranks), default=0) < 1 or max(ranks) > how.rank:
            allowed = f"{layer.num_embeddings} words in all, ranks 1 to {how.rank}"
            raise LoadError("groups of an embedding table", asked=str(how.groups)[:200], allowed=allowed)
        place = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        return GroupedEmbedding(how.groups, layer.embedding_dim, **place)


def group_table(layer: nn.Embedding, counts: Tensor, share: float) -> tuple[Rewrite, GroupedEmbedding]:
    """Return a table in groups by frequency, with as many values as a share of it.

    Each further rank goes to the group where it keeps most of the energy for its values, words weighted by frequency.

    Args:
        layer: The table.
        counts: How often each word came, (words,).
        share: Values of the groups together as a share of the table's, above 0 and below 1.

    Source: GroupReduce (arXiv:1806.06950), its ranks by energy instead of by frequency; groups are not refined.
    """
    table, order = layer.weight.detach().double(), torch.argsort(counts, descending=True, stable=True)
    sizes = _sizes(len(table))
    weights = (counts.double() + 1).sqrt()[order].split(sizes)
    rows = table[order].split(sizes)
    parts = [torch.linalg.svd(w[:, None] * r, full_matrices=False) for w, r in zip(weights, rows, strict=True)]
    ranks = _ranks([values.square() for _, values, _ in parts], sizes, table.shape[1], share * table.numel())
    how = Rewrite(GROUPED, max(ranks), tuple(zip(sizes, ranks, strict=True)))
    made: Any = Grouped().build(layer, how)
    with torch.no_grad():
        made.places[order] = torch.arange(len(order))
        for pair, w, (left, values, right), rank in zip(made.groups, weights, parts, ranks, strict=True):
            root = values[:rank].sqrt()
            short, behind = (getattr(pair, name).weight for name in (REDUCE, EXPAND))
            short.copy_(left[:, :rank] * root / w[:, None])
            behind.copy_((root[:, None] * right[:rank]).T)
    return how, made


def _sizes(words: int) -> list[int]:
    """Return how many words each group has."""
    sizes = [int(share * words) for share in SHARES[:-1]]
    return [size for size in (*sizes, words - sum(sizes)) if size > 0]


def _ranks(energies: Sequence[Tensor], sizes: Sequence[int], width: int, budget: float) -> list[int]:
    """Return the rank of each group: one at a time, each where it keeps most energy for its values."""
    ranks, spent = [1] * len(sizes), float(sum(size + width for size in sizes))
    while True:
        offers = [
            (float(energy[rank]) / (size + width), i)
            for i, (energy, rank, size) in enumerate(zip(energies, ranks, sizes, strict=True))
            if rank < len(energy) and spent + size + width <= budget
        ]
        if not offers:
            return ranks
        _, best = max(offers)
        ranks[best] += 1
        spent += sizes[best] + width
