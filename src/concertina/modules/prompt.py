"""Soft prompt: vectors of a domain's own stand among those of the tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import InputError
from concertina.modules.base import KINDS, Follows, Kind, Owned

UNKNOWN = 2**31
"""Places for tokens where no number is known."""


@KINDS.register("prompt", source="Lester et al., Prompt tuning (arXiv:2104.08691)", year=2021)
class Prompt(Kind):
    """Some tokens more in every text, whose vectors are learnt; they are behind the first token, or in front of all.

    The network is given longer texts: the first token stands again where the prompt will be, so that masks and
    positions grow by themselves, and the layer of the token vectors then has the learnt ones there. Behind the first
    token they leave it in its place for those networks that answer by it; a mean over the tokens is one over the prompt
    too. Networks in which a token sees none behind it need `in_front`. What answers token by token, (batch, tokens,
    ...) in three dimensions or more, gives no answers for the prompt.

    Use it on transformers with many domains: a few vectors, and no layer changes. Texts take longer by those tokens.
    """

    name = "prompt"
    mergeable = False
    around = True
    options = {"tokens": 8, "in_front": False}

    def suits(self, layer: nn.Module) -> bool:
        """Return whether it is an embedding; it has to be the one that reads the network's tokens."""
        return isinstance(layer, nn.Embedding)

    def own(
        self, layer: nn.Module, names: Mapping[str, str], options: Mapping[str, Any], generator: torch.Generator
    ) -> dict[str, Owned]:
        """Return the vectors (tokens, width) of words drawn at random: no vector would change nothing."""
        weight: Any = layer.weight
        drawn = torch.randint(len(weight), (options["tokens"],), generator=generator)
        return {"vectors": Owned(weight.detach()[drawn.to(weight.device)].clone(), (Follows(1, names["weight"], 1),))}

    def delta(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return nothing: this is no change of weights."""
        return {}

    def attach(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
        """Put the vectors in the places that the longer texts have for them."""
        start = _start(options)

        def learnt(_layer: nn.Module, _given: tuple[Any, ...], output: Tensor) -> Tensor:
            """Return token vectors (batch, tokens, width) with those of the prompt in their places."""
            vectors = own["vectors"].to(output.dtype).expand(len(output), -1, -1)
            return torch.cat([output[:, :start], vectors, output[:, start + vectors.shape[1] :]], dim=1)

        layer.register_forward_hook(learnt)

    def attach_around(self, subnet: nn.Module, layer: nn.Module, options: Mapping[str, Any]) -> None:
        """Let the subnet read longer texts, and leave out what it answers for the prompt."""
        start, tokens, most = _start(options), options["tokens"], _most_places(subnet, layer)

        def longer(_subnet: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            """Return the arguments with room for the prompt in the token ids (batch, tokens)."""
            ids = given[0] if given else None
            if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point():
                raise InputError("inputs of a network with a prompt", asked="others", allowed="ids (batch, tokens)")
            if any(each is not None for each in (*given[1:], *named.values())):
                do = "Call it with the ids alone, all of them at once."
                raise InputError("inputs of a network with a prompt", asked="more than token ids", do=do)
            _refuse(ids.shape[1] + tokens, most, tokens)
            room = ids[:, :1].expand(-1, tokens)
            return (torch.cat([ids[:, :start], room, ids[:, start:]], dim=1), *given[1:]), named

        def without(_subnet: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
            """Return answers for the text alone, where there is one for each token."""
            if not isinstance(output, Tensor) or output.dim() < 3 or output.shape[1] != given[0].shape[1]:
                return output
            return torch.cat([output[:, :start], output[:, start + tokens :]], dim=1)

        subnet.register_forward_pre_hook(longer, with_kwargs=True)
        subnet.register_forward_hook(without)
        _watch_places(subnet, layer, tokens)


def _start(options: Mapping[str, Any]) -> int:
    return 0 if options["in_front"] else 1


def _most_places(subnet: nn.Module, words: nn.Module) -> int:
    """Return for how many tokens a network of transformers has places, as its configuration says; else none is known.

    Networks that count places from behind the padding's have as many fewer.
    """
    configs = [getattr(module, "config", None) for module in subnet.modules()]
    told = [most for config in configs if isinstance(most := getattr(config, "max_position_embeddings", None), int)]
    most = min(told, default=UNKNOWN)
    tables = [layer for layer in subnet.modules() if isinstance(layer, nn.Embedding) and layer is not words]
    places = [layer.padding_idx for layer in tables if len(layer.weight) == most]
    return most - max((padding + 1 for padding in places if padding is not None), default=0)


def _refuse(reached: int, most: int, tokens: int) -> None:
    """Refuse a text with more places than there are."""
    if reached > most:
        asked = f"{reached} places, {tokens} of them for the prompt"
        raise InputError("text with a prompt", asked=asked, allowed=f"up to {most}", do="Cut the text.")


def _watch_places(subnet: nn.Module, words: nn.Module, tokens: int) -> None:
    """Let texts that are too long be refused in words also where only a layer of place vectors knows how many fit."""

    def check(layer: Any, given: tuple[Any, ...]) -> None:
        """Refuse places beyond the last vector."""
        if given and isinstance(given[0], Tensor) and given[0].numel() and not torch.compiler.is_compiling():
            _refuse(int(given[0].max()) + 1, len(layer.weight), tokens)

    for layer in subnet.modules():
        if isinstance(layer, nn.Embedding) and layer is not words:
            layer.register_forward_pre_hook(check)
