"""Generation: a language network writes on, token by token."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from concertina.errors import InputError


def generate(module: nn.Module, ids: Tensor, num_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> Tensor:
    """Return token ids with what a network writes behind them.

    A network with `new_cache`, such as the zoo's decoder at any operating point, reads each token once; the cache is
    made of what its own layers give, so it has as many heads and blocks as they have. Any other network is given the
    whole text anew for every token.

    Args:
        module: A network in eval mode that gives logits (batch, tokens, vocabulary) for token ids (batch, tokens).
        ids: What to go on from, (tokens,) or (batch, tokens) int64, without padding.
        num_tokens: How many tokens to add.
        temperature: 0 takes the likeliest token; above, tokens are drawn, the more freely the higher it is.
        seed: Of the draws; equal seeds give equal texts.

    Returns:
        (tokens + num_tokens,) or (batch, tokens + num_tokens) int64.

    Raises:
        InputError: The module is in train mode or gives other outputs, or an argument is out of range.

    Example:
        >>> core = __import__("concertina").load("zoo:tiny-decoder", weights="random")
        >>> generate(core.module, torch.tensor([72, 105]), 3).shape
        torch.Size([5])
    """
    _check(module, ids, num_tokens, temperature)
    generator = torch.Generator().manual_seed(seed)
    read = _reader(module)
    text = ids if ids.dim() == 2 else ids[None]
    with torch.inference_mode():
        for _ in range(num_tokens):
            text = torch.cat([text, _next(read(text), temperature, generator)], dim=1)
    return (text if ids.dim() == 2 else text[0]).clone()


def _reader(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function that gives logits (batch, vocabulary) for what follows a text (batch, tokens), grown or new."""
    make = getattr(module, "new_cache", None)
    if make is None:
        return lambda text: _last(module(text), text)
    cache, num_read = make(), 0

    def read(text: Tensor) -> Tensor:
        """Return logits (batch, vocabulary) after a text (batch, tokens), of which only what is new is read."""
        nonlocal num_read
        fresh, num_read = text[:, num_read:], text.shape[1]
        return _last(module(fresh, cache), fresh)

    return read


def _last(outputs: object, text: Tensor) -> Tensor:
    if not isinstance(outputs, Tensor) or outputs.dim() != 3 or outputs.shape[:2] != text.shape:
        asked = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError("outputs of a language network", asked=asked, allowed="logits (batch, tokens, vocabulary)")
    return outputs[:, -1]


def _next(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Return the next token (batch, 1) for logits (batch, vocabulary)."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    chances = (logits.float().cpu() / temperature).softmax(dim=-1)
    return torch.multinomial(chances, 1, generator=generator).to(logits.device)


def _check(module: nn.Module, ids: Tensor, num_tokens: int, temperature: float) -> None:
    if module.training:
        raise InputError("generation with a network in train mode", do="Call .eval() first.")
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64 or ids.dim() not in (1, 2) or not ids.numel():
        asked = f"{ids.dtype} of shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
        raise InputError(
            "ids to go on from", asked=asked, allowed="torch.int64 (tokens,) or (batch, tokens), 1 or more"
        )
    if int(ids.min()) < 0:
        raise InputError("ids to go on from", asked=str(int(ids.min())), allowed="0 and more", do="Leave padding out.")
    if isinstance(num_tokens, bool) or not isinstance(num_tokens, int) or num_tokens < 0:
        raise InputError("num_tokens", asked=repr(num_tokens), allowed="whole numbers of 0 or more")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 <= temperature < math.inf:
        raise InputError("temperature", asked=repr(temperature), allowed="0 or more")
