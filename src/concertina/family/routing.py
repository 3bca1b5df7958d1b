"""The router: which module suits an input, from the core's own features, or none of them.

Every domain is known by a Gaussian over features of the smallest operating point: mean and scale of each feature, the
directions in which samples vary most, and one variance for all others. Features are what the first layer makes, mean
and deviation over positions (a change of texture shows there), and what the last layer reads (a change of content shows
there). An input belongs to the domain that makes it most likely; where it is less likely in each than nearly all
samples of that domain were, it belongs to none.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from concertina.analyse.class_head import class_layer
from concertina.errors import AnalysisError, DataError
from concertina.load.data import TensorData, batches
from concertina.nest import Supernet
from concertina.objective.base import Task
from concertina.types import Core

DIRECTIONS = 16
"""Most directions of a Gaussian."""
SAMPLES, FEWEST, BATCH = 2000, 50, 128
HELD, WITHIN = 0.2, 0.99
"""Share of the samples that the limit rests on, and how many of these lie within it."""
LEAST = 1e-6
"""Least variance of what was scaled, and least scale as a share of the mean one."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """What the features of one domain look like.

    Source: Tipping and Bishop 1999, Probabilistic principal component analysis.
    """

    point: str
    """Operating point whose features these are."""
    mean: Tensor
    """(features,)"""
    scale: Tensor
    """(features,): what each is divided by."""
    directions: Tensor
    """(directions, features), orthonormal."""
    variances: Tensor
    """(directions + 1,): along each direction, and, last, along any other, of what was scaled."""
    limit: Tensor
    """(1,): the surprise up to which an input belongs to the domain."""

    def changed(self, change: Callable[[Tensor], Tensor]) -> Gaussian:
        """Return the same with every tensor changed."""
        return Gaussian(self.point, **{key: change(tensor) for key, tensor in self.tensors.items()})

    def surprise(self, features: Tensor) -> Tensor:
        """Return the negative log likelihood of each row of features (n, features), but for a constant."""
        x = (features.double() - self.mean.double()) / self.scale.double()
        along, rest = x @ self.directions.double().T, len(self.mean) - len(self.directions)
        own, other = self.variances[:-1].double(), self.variances[-1].double()
        left = (x.square().sum(1) - along.square().sum(1)).clamp(min=0)
        scales = self.scale.double().log().sum()
        return scales + 0.5 * ((along.square() / own + own.log()).sum(1) + left / other + rest * other.log())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {name: getattr(self, name) for name in ("mean", "scale", "directions", "variances", "limit")}


def gaussian(point: str, features: Tensor, seed: int = 0) -> Gaussian:
    """Return the Gaussian of features (n, features); a fifth of them sets its limit.

    Args:
        point: Whose features they are.
        features: One row a sample.
        seed: Of the part that sets the limit.

    Raises:
        DataError: There are fewer than 50 samples.
    """
    if len(features) < FEWEST:
        raise DataError("features of a domain", asked=f"{len(features)} samples", allowed=f"{FEWEST} or more")
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    held, seen = (features[rows].double() for rows in order.tensor_split([int(HELD * len(features))]))
    mean, spread = seen.mean(0), seen.std(0)
    scale = spread.clamp(min=LEAST * float(spread.mean()) + 1e-12)
    x = (seen - mean) / scale
    variances, vectors = torch.linalg.eigh(x.T @ x / (len(seen) - 1))
    variances, vectors = variances.flip(0).clamp(min=LEAST), vectors.flip(1).T
    count = min(DIRECTIONS, max(1, len(mean) // 2))
    other = variances[count:].mean(0, keepdim=True) if len(mean) > count else variances[-1:]
    own = torch.cat([variances[:count], other])
    made = Gaussian(
        point, mean.float(), scale.float(), vectors[:count].float().contiguous(), own.float(), torch.zeros(1)
    )
    return replace(made, limit=made.surprise(held).quantile(WITHIN).float().reshape(1))


def choose(known: Mapping[str, Gaussian], features: Tensor) -> list[str | None]:
    """Return for each row of features the name of the domain it belongs to, None where it belongs to none.

    Example:
        >>> rows = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> known = {"low": gaussian("p10", rows - 9), "high": gaussian("p10", rows + 9)}
        >>> choose(known, torch.tensor([[9.0] * 4, [-9.0] * 4, [500.0] * 4]))
        ['high', 'low', None]
    """
    if not known:
        return [None] * len(features)
    surprises = torch.stack([each.surprise(features) for each in known.values()])
    within = surprises <= torch.stack([each.limit.double() for each in known.values()])
    best = surprises.masked_fill(~within, float("inf")).argmin(0)
    names = list(known)
    return [names[i] if bool(fits) else None for i, fits in zip(best.tolist(), within.any(0), strict=True)]


class Features:
    """Gives the features of one operating point, several threads at a time.

    Args:
        core: The core's facts.
        supernet: The family.
        point: Name of the point.
    """

    def __init__(self, core: Core, supernet: Supernet, point: str) -> None:
        self._subnet = supernet.subnet(supernet.points[point].spec, supernet.private[point]).eval()
        self._seen = threading.local()
        """What was seen in a pass, thread by thread: one network serves them all."""
        _first_layer(self._subnet, core.example_inputs).register_forward_hook(self._keep_first)
        with contextlib.suppress(AnalysisError):
            if core.class_names:
                path = class_layer(core, supernet.module, len(core.class_names))
                self._subnet.get_submodule(path).register_forward_pre_hook(self._keep_last)

    def _keep_first(self, layer: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> None:
        self._seen.first = _over_positions(output, channels_first=isinstance(layer, _ConvNd))

    def _keep_last(self, _layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._seen.last = arguments[0]

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return features (batch, features) of one batch of inputs."""
        self._seen.last = None
        with torch.no_grad():
            outputs = self._subnet(*inputs)
        last: Tensor = outputs if self._seen.last is None else self._seen.last
        last = last.flatten(1, -2).mean(1) if last.dim() > 2 else last
        return torch.cat([self._seen.first, last], dim=1)

    def of(self, task: Task, data: TensorData, seed: int = 0) -> Tensor:
        """Return features (n, features) of up to 2,000 samples drawn from data."""
        rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:SAMPLES]
        return torch.cat([self(task.inputs(batch)) for batch in batches(data.subset(rows), BATCH)])


def _first_layer(module: nn.Module, inputs: Sequence[Tensor]) -> nn.Module:
    """Return the layer with tensors of its own that is the first to make anything."""
    order: list[nn.Module] = []
    leaves = [layer for layer in module.modules() if next(layer.parameters(recurse=False), None) is not None]
    handles = [layer.register_forward_hook(lambda layer, _x, _y: order.append(layer)) for layer in leaves]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return order[0]


def _over_positions(output: Tensor, *, channels_first: bool) -> Tensor:
    """Return mean and deviation over positions (batch, 2 * features); (batch, features) where there are none."""
    if output.dim() < 3:
        return output.flatten(1)
    x = output.flatten(2) if channels_first else output.flatten(1, -2).movedim(1, -1)
    return torch.cat([x.mean(-1), x.std(-1, correction=0)], dim=1)
