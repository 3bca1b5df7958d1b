"""HSIC: how far a representation and an attribute are from being independent, by kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from concertina.objective.removal import REMOVALS, Removal

SCALES = (0.1, 0.5, 1.0, 2.0)
"""Widths of the kernels, as parts of the median squared distance."""


@REMOVALS.register(
    "hsic", source="Gretton et al., Hilbert-Schmidt independence criterion (ALT 2005)", methods=("000-06",), year=2005
)
class Hsic(Removal):
    """Hilbert-Schmidt independence criterion of the representation and the attribute, from 0 (independent) to 1.

    Gaussian kernels of four widths on the representation, equality on the attribute; divided by the norms of both, so
    that a representation does not win by shrinking.

    Use it first: it has no network to train and does not swing.
    """

    weight = 5.0

    def loss(self, representation: Tensor, attribute: Tensor) -> Tensor:
        """Return the criterion of a batch; it costs its square in memory."""
        distances = torch.cdist(representation, representation).square()
        middle = distances.detach()[distances.detach() > 0]
        scale = middle.median() if len(middle) else torch.ones(())
        near = torch.stack([torch.exp(-distances / (width * scale)) for width in SCALES]).mean(0)
        alike = (attribute[:, None] == attribute[None]).to(near)
        one, other = _centred(near), _centred(alike)
        return (one * other).sum() / (one.norm() * other.norm() + 1e-12)


def _centred(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
