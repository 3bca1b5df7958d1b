"""Random specs of a space."""

from __future__ import annotations

import torch

from concertina.types import Space, SubnetSpec

WHOLE = 1.0
"""Spread with which any spec may be drawn."""


def random_spec(
    space: Space, generator: torch.Generator, *, spread: float = WHOLE, within: SubnetSpec | None = None
) -> SubnetSpec:
    """Return a random spec in canonical form: one share of width and one of depth, each dim drawn around them.

    Dims drawn alike and apart from each other would nearly all give middling costs; so small, middling and large
    subnets all come up, and narrow deep ones beside wide shallow ones.

    Args:
        space: All dims.
        generator: Draws.
        spread: How far a dim's share of its choices may lie from its subnet's, from end to end.
        within: What no dim may exceed; the whole space unless said.

    Example:
        >>> from concertina.types import Dim
        >>> space = Space((Dim("width:a", "width", "a", (1, 2), ()),))
        >>> {random_spec(space, torch.Generator().manual_seed(seed)).text for seed in range(9)} == {
        ...     "width:a=1", "width:a=2"}
        True
    """

    def draw() -> float:
        """Return a number from 0 to 1."""
        return float(torch.rand((), generator=generator))

    width, depth = 0.1 + 0.9 * draw(), 0.2 + 0.8 * draw()
    choices = {}
    for dim in space.dims:
        most = dim.choices.index(within[dim.name]) if within else len(dim.choices) - 1
        if dim.is_gate:
            choices[dim.name] = min(most, int(draw() < depth))
        else:
            place = round((width + spread * (draw() - 0.5)) * (most + 1)) - 1
            choices[dim.name] = dim.choices[min(most, max(0, place))]
    return space.check(SubnetSpec.of(choices))
