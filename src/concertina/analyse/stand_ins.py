"""Plain layers that stand in for those the proposer cannot follow; only on the copy that it searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from concertina.analyse.attention import Heads, find_heads
from concertina.analyse.events import hooked
from concertina.analyse.layers import is_transposed_linear


def put_stand_ins(module: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Change a copy of a network, in place, so that the proposer's search ends and sees its linear layers.

    Attention whose key heads serve several query heads each becomes a plain sum of its projections: heads are proposed
    by name in any case. Linear layers that keep their weight the other way round become linear layers.

    Args:
        module: The copy, in eval mode; what it computes from now on means nothing.
        inputs: What it is called with, (batch, ...) each.

    Source: PROTOTYPE section 1 (ours).
    """
    for path, found in list(module.named_modules()):
        if path and is_transposed_linear(found):
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, _as_linear(found))
    grouped = [heads for heads in find_heads(module) if _shares_keys(module, heads)]
    outputs = _outputs_of(module, inputs, [heads.path for heads in grouped]) if grouped else {}
    for heads in grouped:
        if heads.path in outputs:
            layer: Any = module.get_submodule(heads.path)
            layer.forward = _summing(module, heads, outputs[heads.path])


def _as_linear(layer: Any) -> nn.Linear:
    """Return a linear layer that computes what one with a weight (inputs, outputs) does."""
    made = nn.Linear(layer.weight.shape[0], layer.weight.shape[1], layer.bias is not None)
    made.weight = nn.Parameter(layer.weight.detach().T.clone())
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach().clone())
    return made.to(layer.weight)


def _shares_keys(module: nn.Module, heads: Heads) -> bool:
    widths = {getattr(module.get_submodule(path), "out_features", 0) for path in heads.makers}
    return len(widths) > 1


def _outputs_of(module: nn.Module, inputs: Sequence[Tensor], paths: Sequence[str]) -> dict[str, Any]:
    """Return path -> what the modules at these paths give, for those whose first output is a tensor."""
    found: dict[str, Any] = {}

    def note(path: str) -> Callable[..., None]:
        def leave(_layer: nn.Module, _args: object, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, Tensor):
                found[path] = output

        return leave

    handles = [module.get_submodule(path).register_forward_hook(note(path)) for path in paths]
    with hooked(handles), torch.no_grad():
        module(*(item.clone() for item in inputs))
    return found


def _summing(module: nn.Module, heads: Heads, output: Any) -> Callable[..., Any]:
    """Return a forward that sums the projections of its first tensor and gives it in the shape of `output`."""
    makers = [module.get_submodule(path) for path in heads.makers]
    reader: Any = module.get_submodule(heads.reader)
    reads_inside = heads.reader.startswith(f"{heads.path}.")

    def forward(*args: Any, **kwargs: Any) -> Any:
        x = next(item for item in (*args, *kwargs.values()) if isinstance(item, Tensor))
        total = torch.stack([maker(x).mean(dim=-1, keepdim=True) for maker in makers]).sum(dim=0)
        read = total.expand(*total.shape[:-1], reader.in_features)
        first = reader(read) if reads_inside else read
        return (first, *output[1:]) if isinstance(output, tuple) else first

    return forward
