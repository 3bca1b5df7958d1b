"""Width: channels, hidden features and attention heads, sorted once, so that fewer is a prefix."""

from __future__ import annotations

import torch
from torch import Tensor

from concertina.axes.base import AXES, AxisTags, SizingAxis
from concertina.types import Dim, Graph, Group, Scores


@AXES.register("width", source="Slimmable networks (arXiv:1812.08928), sorted as in OFA (arXiv:1908.09791)", year=2018)
class Width(SizingAxis):
    """Fewer units (channels, features, heads) of a verified group."""

    name = "width"
    tags = AxisTags(ordered=True, changes_shape=True, needs_attach=False, exportable=True)

    def dims(self, graph: Graph) -> list[Dim]:
        """Return one dim per elastic group; a group inside a skippable block needs that block."""
        return [
            Dim(
                name=f"width:{group.name}",
                axis="width",
                target=group.name,
                choices=chunk_choices(group.units),
                members=group.members,
                attributes=group.attributes,
                needs=_blocks_around(group, graph),
            )
            for group in graph.elastic_groups
            if group.units > 1
        ]

    def order(self, graph: Graph, scores: Scores) -> dict[str, Tensor]:
        """Return the units of every elastic group in falling importance; ties keep their place."""
        return {
            group.name: torch.argsort(scores.units[group.name], descending=True, stable=True)
            for group in graph.elastic_groups
            if group.name in scores.units
        }


def chunk_choices(units: int) -> tuple[int, ...]:
    """Return the widths offered for a group: chunks of min(8, max(1, units // 8)) units.

    Example:
        >>> chunk_choices(64)
        (8, 16, 24, 32, 40, 48, 56, 64)
        >>> chunk_choices(10), chunk_choices(1)
        ((1, 2, 3, 4, 5, 6, 7, 8, 9, 10), (1,))
    """
    chunk = min(8, max(1, units // 8))
    return (*range(chunk, units, chunk), units)


def _blocks_around(group: Group, graph: Graph) -> tuple[str, ...]:
    """Return the depth dims of elastic blocks that hold every member of the group."""
    tensors = {member.tensor for member in group.members}
    return tuple(f"depth:{block.path}" for block in graph.elastic_blocks if tensors <= set(block.tensors))
