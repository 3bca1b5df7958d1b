"""A head over the tokens: tags for an encoder that makes one vector of a whole text."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse.token_layer import token_vectors
from concertina.errors import InputError
from concertina.modules.base import KINDS, Follows, Kind, Owned


@KINDS.register("head-on-tokens", source="Devlin et al., BERT (arXiv:1810.04805), section 5.3", year=2018)
class TokenHead(Kind):
    """A linear layer over the vectors of tokens inside the network, normalised over their features first.

    What the network makes of these vectors afterwards is not used. The head is cut along with their width.

    Use it where an encoder of sentences is to tag words; it comes by itself with data that has a tag for each token.
    """

    name = "head-on-tokens"
    mergeable = False
    whole = True
    options = {"classes": 2, "features": 1, "at": "", "along": ""}

    def suits(self, layer: nn.Module) -> bool:
        """Return True: it is on the network as a whole."""
        return True

    def own(
        self, layer: nn.Module, names: Mapping[str, str], options: Mapping[str, Any], generator: torch.Generator
    ) -> dict[str, Owned]:
        """Return weight (classes, features) and bias (classes,), zeros: all classes are alike at first."""
        if options["at"] not in dict(layer.named_modules()) or not options["at"]:
            raise InputError("option at of a head on tokens", asked=repr(options["at"]), allowed="a layer's path")
        like: Any = next(layer.parameters())
        made = torch.zeros(options["classes"], options["features"], dtype=like.dtype, device=like.device)
        return {"weight": Owned(made, _follows(layer, options)), "bias": Owned(made.new_zeros(len(made)))}

    def delta(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return nothing: this is no change of weights."""
        return {}

    def attach(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
        """Let the network answer in the head's classes, for each token."""
        seen = threading.local()

        def note(_layer: nn.Module, _arguments: tuple[Any, ...], output: Any) -> None:
            """Keep the vectors (batch, tokens, features) of this call."""
            seen.vectors = token_vectors(output)

        def answer(_network: nn.Module, _arguments: tuple[Any, ...], _output: Any) -> Tensor:
            """Return logits (batch, tokens, classes)."""
            vectors = seen.vectors
            del seen.vectors
            return F.linear(F.layer_norm(vectors, vectors.shape[-1:]), own["weight"], own["bias"])

        layer.get_submodule(options["at"]).register_forward_hook(note)
        layer.register_forward_hook(answer)


def _follows(network: nn.Module, options: Mapping[str, Any]) -> tuple[Follows, ...]:
    """Return which side of which tensor the head's features go along with."""
    if not options["along"]:
        return ()
    name, _, side = options["along"].rpartition(":")
    tensor = dict(network.named_parameters(remove_duplicate=False)).get(name)
    if tensor is None or not side.isdecimal() or int(side) >= tensor.dim():
        allowed = "a tensor's name and the number of its side"
        raise InputError("option along of a head on tokens", asked=repr(options["along"])[:100], allowed=allowed)
    if tensor.shape[int(side)] != options["features"]:
        raise InputError(
            "option features of a head on tokens", asked=str(options["features"]), allowed=f"{tensor.shape[int(side)]}"
        )
    return (Follows(1, name, int(side)),)
