"""Untrained families of the zoo with points from the smallest, all blocks skipped, to the full one."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

import concertina as ct
from concertina.testing import make_subject

NAMES = ("mlp", "digits-cnn", "tiny-vit")
POINTS = ("smallest", "middle", "full")
EXPORTED = {"mlp": ("smallest", "full"), "digits-cnn": POINTS, "tiny-vit": ("smallest", "full")}
"""Points that the tests export, network by network; each takes seconds."""


@cache
def family(name: str) -> ct.Family:
    """Return a family of a zoo network with the points `POINTS`; it is shared, so do not change it."""
    subject = make_subject(ct.load(f"zoo:{name}"))
    net, space = subject.supernet, subject.supernet.space
    middle = list(net.points.values())[1].spec
    net.points.clear()
    net.private.clear()
    for point, spec in zip(POINTS, (space.smallest, middle, space.full), strict=True):
        net.add(net.point(point, spec), {} if spec == space.full else net.fresh_private(spec))
    return ct.Family(subject.core, net)


def inputs(owner: ct.Family, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Return inputs of a batch size, as the family's network takes them."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(batch, *tensor.shape[1:], generator=generator) for tensor in owner.core.example_inputs)


def outputs(owner: ct.Family, point: str, given: tuple[Tensor, ...]) -> Tensor:
    """Return what a point computes in torch."""
    with torch.inference_mode():
        return owner.view(point)(*given)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference as a share of the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())
