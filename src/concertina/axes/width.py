"""Width: channels, hidden features and attention heads, sorted once, so that fewer is a prefix."""

from __future__ import annotations

import torch
from torch import Tensor

from concertina.axes.base import AXES, AxisTags, SizingAxis, dim_of, is_rank
from concertina.types import Dim, Graph, Scores


@AXES.register("width", source="Slimmable networks (arXiv:1812.08928), sorted as in OFA (arXiv:1908.09791)", year=2018)
class Width(SizingAxis):
    """Fewer units (channels, features, heads) of a verified group."""

    name = "width"
    tags = AxisTags(ordered=True, changes_shape=True, needs_attach=False, exportable=True)

    def dims(self, graph: Graph) -> list[Dim]:
        """Return one dim per elastic group; a group inside a skippable block needs that block."""
        return [
            dim_of(group, graph, axis=self.name, target=group.name)
            for group in graph.elastic_groups
            if group.units > 1 and not is_rank(group, graph)
        ]

    def order(self, graph: Graph, scores: Scores) -> dict[str, Tensor]:
        """Return the units of every elastic group in falling importance; ties keep their place."""
        return {
            group.name: torch.argsort(scores.units[group.name], descending=True, stable=True)
            for group in graph.elastic_groups
            if group.name in scores.units and not is_rank(group, graph)
        }
