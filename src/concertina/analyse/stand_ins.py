"""Plain layers that stand in for those the proposer cannot follow; only on the copy that it searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from concertina.analyse.attention import Heads, find_heads
from concertina.analyse.events import hooked
from concertina.analyse.layers import is_transposed_linear, linear_features

STAND_IN = "stands_in"
"""Name of a layer inside a module that stands in for the layer at the module's own path."""


def put_stand_ins(module: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Change a copy of a network, in place, so that the proposer's search ends and sees its linear layers.

    Attention whose key heads serve several query heads each becomes a plain sum of its projections: heads are proposed
    by name in any case. Linear layers that keep their weight the other way round become linear layers, and so do
    recurrent ones: of them only the units that come in and go out are asked for.

    Args:
        module: The copy, in eval mode; what it computes from now on means nothing.
        inputs: What it is called with, (batch, ...) each.

    Source: PROTOTYPE section 1 (ours).
    """
    for path, found in list(module.named_modules()):
        recurrent = isinstance(found, nn.RNNBase)
        if path and (recurrent or is_transposed_linear(found)):
            parent, _, name = path.rpartition(".")
            made: nn.Module = _Recurrent(found) if recurrent else _as_linear(found)
            setattr(module.get_submodule(parent), name, made)
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


class _Recurrent(nn.Module):
    """Gives what a recurrent layer gives, in its shapes, from the inputs of the same step alone."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._directions = 2 if layer.bidirectional else 1
        self._levels, self._time, self._has_cell = layer.num_layers, int(layer.batch_first), layer.mode == "LSTM"
        self._cell = layer.hidden_size
        made = self._directions * (layer.proj_size or layer.hidden_size)
        self.add_module(STAND_IN, nn.Linear(layer.input_size, made))

    def forward(self, x: Any, *_state: Any) -> Any:
        """Return (outputs, last state), the state of an LSTM being a pair."""
        made = self.get_submodule(STAND_IN)(x)
        last = made.select(self._time if x.dim() > 2 else 0, -1)
        state = torch.stack([*last.chunk(self._directions, -1)] * self._levels)
        cell = state.mean(-1, keepdim=True).expand(*state.shape[:-1], self._cell)
        return made, (state, cell) if self._has_cell else state


def _shares_keys(module: nn.Module, heads: Heads) -> bool:
    widths = {linear_features(module.get_submodule(path)) for path in heads.makers}
    return len(widths) > 1


def _outputs_of(module: nn.Module, inputs: Sequence[Tensor], paths: Sequence[str]) -> dict[str, Any]:
    """Return path -> what the modules at these paths give, for those whose first output is a tensor."""
    found: dict[str, Any] = {}

    def note(path: str) -> Callable[..., None]:
        """Return a hook that keeps what a module gives."""

        def leave(_layer: nn.Module, _args: object, output: Any) -> None:
            """Keep the output where it holds a tensor."""
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
        """Return a stand-in's output: sums of what each maker gives, of the shape that the layer's had."""
        x = next(item for item in (*args, *kwargs.values()) if isinstance(item, Tensor))
        total = torch.stack([maker(x).mean(dim=-1, keepdim=True) for maker in makers]).sum(dim=0)
        read = total.expand(*total.shape[:-1], reader.in_features)
        first = reader(read) if reads_inside else read
        return (first, *output[1:]) if isinstance(output, tuple) else first

    return forward
