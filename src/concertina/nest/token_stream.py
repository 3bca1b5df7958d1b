"""Where a network holds one vector for each token, whatever it makes of them at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from concertina.analyse.token_layer import token_vectors
from concertina.errors import AnalysisError
from concertina.nest.builder import build
from concertina.nest.order import named_tensors
from concertina.nest.supernet import Supernet

WHERE = "the place where this network has a vector for each token"


@dataclass(frozen=True)
class TokenStream:
    """Vectors of tokens, (batch, tokens, width), as one layer gives them."""

    path: str
    """The layer; every subnet has it."""
    width: int
    side: str
    """A tensor of the network and the number of its side that the width goes along with, "norm.weight:0"; empty where
    every subnet has the whole width."""


def token_stream(supernet: Supernet, inputs: tuple[Tensor, ...]) -> TokenStream:
    """Return the last vectors of tokens that every subnet has, found by watching it run.

    Args:
        supernet: The family.
        inputs: Example inputs; the first are the token ids (batch, tokens).

    Raises:
        AnalysisError: There are none, or only inside blocks that a subnet may lack, or their width follows nothing.
    """
    ids = inputs[0]
    if ids.is_floating_point() or ids.dim() != 2:
        raise AnalysisError(WHERE, asked="a network that reads no token ids")
    streams = _streams(supernet.module.eval(), inputs)
    blocks = [dim.target for dim in supernet.space.dims if dim.is_gate and len(dim.choices) > 1]
    inside = {path for path in streams if any(f"{path}.".startswith(f"{block}.") for block in blocks)}
    lasting = [path for path in streams if path not in inside]
    if not lasting or not _comes_last(lasting[-1], streams, inside):
        do = "Adapt it with a head for the whole text, or hand the network over with a last layer for tokens."
        raise AnalysisError(WHERE, asked="none outside of the blocks that a subnet may lack", do=do)
    path, width = lasting[-1], streams[lasting[-1]]
    return TokenStream(path, width, _side(supernet, inputs, path, width))


def _streams(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, int]:
    """Return path -> width of the layers that give a vector for each token, in the order in which they end."""
    shape, found = inputs[0].shape, dict[str, int]()

    def watch(path: str) -> Any:
        """Return a hook that notes the width of what a layer gives, where that is a vector for each token."""

        def note(_layer: nn.Module, _given: Any, output: Any) -> None:
            """Note it; a layer that is called twice stands where it ends last."""
            found.pop(path, None)
            stream = token_vectors(output)
            if stream is not None and stream.shape[:2] == shape:
                found[path] = stream.shape[2]

        return note

    handles = [layer.register_forward_hook(watch(path)) for path, layer in module.named_modules()]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _comes_last(path: str, streams: Mapping[str, int], inside: set[str]) -> bool:
    """Return whether a layer ends after all those in blocks have."""
    order = list(streams)
    return all(order.index(path) > order.index(each) for each in inside)


def _side(supernet: Supernet, inputs: tuple[Tensor, ...], path: str, width: int) -> str:
    """Return which side of which tensor a stream's width goes along with, found by cutting one dim at a time."""
    tensors, space = named_tensors(supernet.module), supernet.space
    for dim in space.dims:
        sides = [
            member
            for member in dim.members
            if 0 <= member.dim < tensors[member.tensor].dim() and tensors[member.tensor].shape[member.dim] == width
        ]
        if dim.is_gate or len(dim.choices) < 2 or not sides:
            continue
        spec = space.check(space.full.with_choice(dim.name, dim.choices[0]))
        cut = _streams(build(supernet.module, space, spec).eval(), inputs).get(path, 0)
        if cut != width:
            first = sides[0]
            kept = tensors[first.tensor].shape[first.dim]
            if kept != width or cut > width:
                raise AnalysisError(WHERE, asked=f"{path!r}, whose width {width} becomes {cut}")
            return f"{first.tensor}:{first.dim}"
    return ""
