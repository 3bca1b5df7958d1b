"""Groups and blocks as the dims of a family tell them: what analysis found, without analysing again."""

from __future__ import annotations

from concertina.axes import AXES
from concertina.types import Block, Graph, Group, Space


def graph_of(space: Space) -> Graph:
    """Return the elastic groups and blocks that a family's dims stand for.

    A family that was read from a file has nothing else; what was rigid when it was made is not told.

    Args:
        space: The dims.

    Example:
        >>> from concertina.types import Dim, Member
        >>> graph_of(Space((Dim("width:a", "width", "a", (1, 2), (Member("w", 0, "out"),)),))).elastic_groups[0].units
        2
    """
    sized = [dim for dim in space.dims if not dim.is_gate and not AXES.get(dim.axis).tags.costs_nothing]
    groups = tuple(Group(dim.target, dim.original, dim.members, dim.attributes) for dim in sized)
    gates = [dim for dim in space.dims if dim.is_gate]
    blocks = tuple(
        Block(dim.target, tuple(member.tensor for member in dim.members), returns=dim.returns) for dim in gates
    )
    factored = tuple(dim.target.rpartition(".")[0] for dim in sized if dim.axis == "rank")
    return Graph(groups, blocks, factored=factored)
