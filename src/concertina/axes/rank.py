"""Rank: layers written as two, sorted by what each rank adds, so that a lower rank is a prefix."""

from __future__ import annotations

import torch
from torch import Tensor

from concertina.axes.base import AXES, AxisTags, SizingAxis, dim_of, is_rank
from concertina.types import Dim, Graph, Scores


@AXES.register(
    "rank",
    source="sorted factors, trained at many ranks: Trained Rank Pruning (arXiv:1812.02402)",
    methods=("001-12",),
    year=2018,
)
class Rank(SizingAxis):
    """Fewer ranks of a layer that was factorised."""

    name = "rank"
    tags = AxisTags(ordered=True, changes_shape=True, needs_attach=False, exportable=True)

    def dims(self, graph: Graph) -> list[Dim]:
        """Return one dim per factorised layer; a layer inside a skippable block needs that block."""
        return [
            dim_of(group, graph, axis=self.name, target=group.name.rpartition(".")[0])
            for group in graph.elastic_groups
            if group.units > 1 and is_rank(group, graph)
        ]

    def order(self, graph: Graph, scores: Scores) -> dict[str, Tensor]:
        """Return ranks as they stand: the decomposition has sorted them."""
        return {group.name: torch.arange(group.units) for group in graph.elastic_groups if is_rank(group, graph)}
