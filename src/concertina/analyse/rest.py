"""Weights at rest: what a block must hold to give back its input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse.probe import Probe

EPSILONS = ("eps", "variance_epsilon")
"""Names under which normalisations keep what they add to the variance."""


def resting_norms(module: nn.Module) -> dict[str, nn.Module]:
    """Return path -> normalisation layers that use no running statistics, such as layer norm.

    Example:
        >>> list(resting_norms(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.BatchNorm1d(4))))
        ['1']
    """
    return {
        path: layer
        for path, layer in module.named_modules()
        if "norm" in type(layer).__name__.lower() and isinstance(getattr(layer, "weight", None), nn.Parameter)
        and getattr(layer, "running_mean", None) is None
    }  # fmt: skip


def normalised(x: Tensor) -> Tensor:
    """Return x (..., features) with mean 0 and variance 1 along its last dim."""
    return F.layer_norm(x, x.shape[-1:], eps=0.0) if x.is_floating_point() and x.dim() else x


@contextmanager
def at_rest(probe: Probe, tensors: Mapping[str, Tensor], norms_of: nn.Module | None = None) -> Iterator[None]:
    """Within the context some tensors of the probe are zero, and normalisations neutral where asked for.

    Args:
        probe: The randomised network.
        tensors: Tensors of a block by name; those that no forward pass could do without (running variances, tables of
            whole numbers) are left as they are.
        norms_of: The module whose normalisations without running statistics scale by 1, shift by 0 and add nothing to
            the variance, its own as well as the block's; none to let them be zeroed with the rest.
    """
    values = {
        name: tensor.new_zeros(()).expand_as(tensor) for name, tensor in tensors.items() if _is_zeroed(name, tensor)
    }
    norms = list(resting_norms(norms_of).values()) if norms_of is not None else []
    neutral = {id(norm.weight): 1.0 for norm in norms} | {
        id(norm.bias): 0.0 for norm in norms if getattr(norm, "bias", None) is not None
    }
    values |= {name: torch.full_like(t, neutral[id(t)]) for name, t in probe.tensors.items() if id(t) in neutral}
    epsilons = [(norm, name, getattr(norm, name)) for norm in norms for name in EPSILONS if hasattr(norm, name)]
    with probe.holding(values):
        try:
            for norm, name, _ in epsilons:
                setattr(norm, name, 0.0)
            yield
        finally:
            for norm, name, value in epsilons:
                setattr(norm, name, value)


def _is_zeroed(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor is zero at rest: all weights, and running means, but no other buffers."""
    return tensor.is_floating_point() and (isinstance(tensor, nn.Parameter) or name.endswith("running_mean"))
