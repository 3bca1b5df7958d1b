"""The layer that reads a network's token ids, and what layers make of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import AnalysisError
from concertina.types import Core


def token_layer(core: Core, module: nn.Module) -> str:
    """Return the path of the embedding that reads the network's first input, found by watching it run.

    Args:
        core: Gives example inputs.
        module: The network, in eval mode.

    Raises:
        AnalysisError: There is none: the network reads no token ids.
    """
    ids, found = core.example_inputs[0], []

    def watch(path: str) -> Any:
        """Return a hook that notes a layer which is given the ids as they are."""
        return lambda _layer, given: found.append(path) if given and torch.equal(given[0], ids) else None

    watched = {path: layer for path, layer in module.named_modules() if isinstance(layer, nn.Embedding)}
    handles = [layer.register_forward_pre_hook(watch(path)) for path, layer in watched.items()]
    try:
        with torch.no_grad():
            module(*core.example_inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        kind = "an embedding that is given the network's first input as it is"
        raise AnalysisError("the layer that reads token ids", asked="none was found", allowed=kind)
    return found[0]


def token_vectors(output: Any) -> Tensor | None:
    """Return the first tensor of three dims in what a layer gives: by itself, in a tuple, or in a table of fields.

    Example:
        >>> token_vectors((torch.zeros(1, 2, 3), None)).shape
        torch.Size([1, 2, 3])
    """
    parts: Iterable[Any] = output.values() if isinstance(output, Mapping) else output
    for part in [output] if isinstance(output, Tensor) else parts if isinstance(output, Mapping | tuple | list) else ():
        if isinstance(part, Tensor) and part.dim() == 3 and part.is_floating_point():
            return part
    return None
