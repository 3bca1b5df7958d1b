"""Smaller inputs of the same kind: what is found of a network on them holds on them, and is then checked on the others.

Verification runs a network hundreds of times, and most of what a long text or a large image costs it does not need. So
the middle of texts is left out and images get smaller, as long as the network calls the same modules in the same order
and nothing shrinks to less than a few positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from concertina.analyse.events import Event, record
from concertina.analyse.probe import Probe

FEWEST = 3
"""Fewest positions to which a side of what a module gives may shrink."""
TOKENS = 8
"""Length of a shortened text."""
PIXELS = (96, 128)
"""Sides of smaller images, the first one first."""
WORTH = 2.0
"""Inputs get shorter, or smaller in area, by this factor or more, or not at all."""


def smaller(probe: Probe) -> Probe:
    """Return a probe of the same randomised network on smaller inputs; the same probe where there are none.

    Args:
        probe: The randomised network on its example inputs.
    """
    for inputs in _candidates(probe.inputs):
        if _calls_the_same(probe, inputs):
            return probe.on(inputs)
    return probe


def _candidates(inputs: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    texts = [item for item in inputs if item.dim() == 2 and not item.is_floating_point()]
    images = [item for item in inputs if item.dim() == 4 and item.is_floating_point()]
    if texts and not images and texts[0].shape[1] >= WORTH * TOKENS:
        yield tuple(_shortened(item, texts[0].shape[1], TOKENS) for item in inputs)
    if images and len(images) == len(inputs):
        for side in PIXELS:
            if all(item.shape[2] * item.shape[3] >= WORTH * side**2 for item in images):
                yield tuple(item[:, :, :side, :side].contiguous() for item in images)


def _shortened(item: Tensor, length: int, left: int) -> Tensor:
    """Return an input without the middle of every side of `length`: the last position often is a special one."""
    for dim in range(1, item.dim()):
        if item.shape[dim] == length:
            item = item.index_select(dim, torch.tensor([*range(left - 1), length - 1]))
    return item


def _calls_the_same(probe: Probe, inputs: Sequence[Tensor]) -> bool:
    """Return whether the network calls the same modules on other inputs, and gives what differs in lengths only."""
    try:
        events = record(probe.module, inputs)
    except Exception:  # a user's forward may raise anything: then these inputs are none for it
        return False
    return len(events) == len(probe.events) and all(map(_is_alike, events, probe.events))


def _is_alike(new: Event, old: Event) -> bool:
    return (
        new[0] == old[0]
        and len(new[1]) == len(old[1])
        and all(a.dim() == b.dim() and a.dtype == b.dtype for a, b in zip(new[1], old[1], strict=True))
        and all(
            a == b or a >= FEWEST
            for one, other in zip(new[1], old[1], strict=True)
            for a, b in zip(one.shape, other.shape, strict=True)
        )
    )
