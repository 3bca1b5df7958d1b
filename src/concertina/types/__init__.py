"""The nouns: plain values that flow through the house, from `load` down to `cli`.

Nothing here imports torch at run time, so that the file format can be read without it.
"""

from __future__ import annotations

from concertina.types.figures import Point, Record, data_key
from concertina.types.network import (
    Batches,
    Block,
    ClassScores,
    Core,
    Graph,
    Group,
    Member,
    Preprocess,
    Rewrite,
    Role,
    Scores,
    SizeAttribute,
)
from concertina.types.runs import Piece, Range, dropped_range, extents, kept_ranges, length_of, pieces, ranges_left
from concertina.types.space import Dim, GrowthOrder, Space, SubnetSpec

__all__ = [
    "Batches",
    "Block",
    "ClassScores",
    "Core",
    "Dim",
    "Graph",
    "Group",
    "GrowthOrder",
    "Member",
    "Piece",
    "Point",
    "Preprocess",
    "Range",
    "Record",
    "Rewrite",
    "Role",
    "Scores",
    "SizeAttribute",
    "Space",
    "SubnetSpec",
    "data_key",
    "dropped_range",
    "extents",
    "kept_ranges",
    "length_of",
    "pieces",
    "ranges_left",
]
