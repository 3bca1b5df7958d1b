"""Affine: scales and shifts of normalisation layers, and biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from concertina.modules.base import KINDS, Follows, Kind, Owned


@KINDS.register(
    "affine", source="Perez et al., FiLM (arXiv:1709.07871); Ben Zaken et al., BitFit (arXiv:2106.10199)", year=2018
)
class Affine(Kind):
    """A change of the scale and shift of every normalisation layer, and of the bias of every layer that has one.

    Behind a normalisation layer this is feature-wise modulation. It costs nothing at run time, attached or merged: the
    vectors it changes are so short that it keeps whole ones of its own.

    Use it for shifts of domain and many small domains: a fraction of a percent of the core's bytes.
    """

    name = "affine"
    mergeable = True
    options: Mapping[str, Any] = {}

    def suits(self, layer: nn.Module) -> bool:
        """Return whether the layer has a bias, or is a normalisation layer with a scale."""
        return _vectors(layer) != ()

    def own(
        self, layer: nn.Module, names: Mapping[str, str], options: Mapping[str, Any], generator: torch.Generator
    ) -> dict[str, Owned]:
        """Return zeros in the shape of each vector."""
        return {
            attribute: Owned(torch.zeros_like(getattr(layer, attribute)), (Follows(0, names[attribute], 0),))
            for attribute in _vectors(layer)
        }

    def delta(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the changes as they are."""
        return dict(own)

    def attach(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
        """Put the sums in the place of the vectors."""
        for attribute, change in own.items():
            held: Tensor = getattr(layer, attribute)
            delattr(layer, attribute)
            setattr(layer, attribute, held.detach() + change)


def _vectors(layer: nn.Module) -> tuple[str, ...]:
    """Return the names of the vectors of a layer that are changed."""
    is_norm = "norm" in type(layer).__name__.lower()
    own = dict(layer.named_parameters(recurse=False))
    return tuple(n for n, p in own.items() if p.dim() == 1 and (n == "bias" or (is_norm and n == "weight")))
