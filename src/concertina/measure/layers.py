"""The layers of a family, each in every size that matters and alone with inputs as it meets them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from concertina.measure.mode import evaluation_mode
from concertina.measure.sides import tensor_sides
from concertina.nest import build
from concertina.types import Space, SubnetSpec

ALL_UP_TO = 9
"""A dim with more choices than this is sampled, evenly."""
SAMPLED = 5
WHOLE = (nn.MultiheadAttention,)
"""Modules that compute with the tensors of modules inside them: they count as one layer."""

Sizes = tuple[int, ...]
"""Choices of a layer's dims, in their order."""


@dataclass(frozen=True)
class Layer:
    """A module with tensors of its own, and what it follows."""

    path: str
    dims: tuple[str, ...]
    """Names of the dims that size it, sorted."""
    gates: tuple[str, ...]
    """Names of the gates without which it is not there."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One layer in one size, ready to be called."""

    call: Callable[[], object]
    signature: str
    """Equal for layers of one kind that do the same work."""
    calls: int
    """How often a pass of the network calls it."""


def layers_of(module: nn.Module, space: Space) -> list[Layer]:
    """Return the layers of the full network that hold parameters or buffers.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> [layer.path for layer in layers_of(net, Space(()))]
        ['0', '2']
    """
    sides = tensor_sides(module, space)
    found: list[Layer] = []
    for path, part in module.named_modules():
        inside = any(path.startswith(f"{layer.path}.") for layer in found)
        names = [name for name in sides if name.startswith(f"{path}.")]
        if not path or inside or not names or (list(part.children()) and not isinstance(part, WHOLE)):
            continue
        dims = {dim for name in names for dim in sides[name].dims}
        gates = {gate for name in names for gate in sides[name].gates}
        found.append(Layer(path, tuple(sorted(dims)), tuple(sorted(gates))))
    return found


def sampled(choices: Sequence[int]) -> tuple[int, ...]:
    """Return the choices of a dim that are measured, the first and the last among them.

    Example:
        >>> sampled(range(1, 97))
        (1, 25, 49, 72, 96)
    """
    if len(choices) <= ALL_UP_TO:
        return tuple(choices)
    return tuple(choices[round(i * (len(choices) - 1) / (SAMPLED - 1))] for i in range(SAMPLED))


def layer_samples(
    module: nn.Module, inputs: Sequence[Tensor], space: Space, layers: Sequence[Layer]
) -> dict[tuple[str, Sizes], Sample]:
    """Return (path, sizes) -> the layer in these sizes; layers that a pass never calls are left out.

    Args:
        module: The full network.
        inputs: What it is called with.
        space: The dims.
        layers: From `layers_of`.
    """
    waiting = {
        (layer, sizes)
        for layer in layers
        for sizes in product(*(sampled(space.by_name[dim].choices) for dim in layer.dims))
    }
    found: dict[tuple[str, Sizes], Sample] = {}
    pool: dict[str, Tensor] = {}
    while waiting:
        spec, met = _spec_with_many(space, sorted(waiting, key=lambda item: (item[0].path, item[1])))
        waiting -= set(met)
        calls = _calls(build(module, space, spec), inputs, [layer.path for layer, _ in met])
        for layer, sizes in met:
            if calls[layer.path]:
                found[layer.path, sizes] = _sample(calls[layer.path], pool)
    return found


def _spec_with_many(
    space: Space, waiting: Sequence[tuple[Layer, Sizes]]
) -> tuple[SubnetSpec, list[tuple[Layer, Sizes]]]:
    """Return a spec, all blocks open, that has as many of the sizes wanted as fit together, and those."""
    fixed: dict[str, int] = {}
    met: dict[str, tuple[Layer, Sizes]] = {}
    for layer, sizes in waiting:
        wanted = dict(zip(layer.dims, sizes, strict=True))
        if layer.path not in met and all(fixed.get(dim, size) == size for dim, size in wanted.items()):
            fixed |= wanted
            met[layer.path] = (layer, sizes)
    return SubnetSpec.of({**dict(space.full.choices), **fixed}), list(met.values())


Call = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]


def _calls(subnet: nn.Module, inputs: Sequence[Tensor], paths: Sequence[str]) -> dict[str, list[Call]]:
    """Return path -> the calls that one pass makes of it."""
    found: dict[str, list[Call]] = {path: [] for path in paths}

    def note(path: str, part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep what a layer was called with."""
        found[path].append((part, args, kwargs))

    with ExitStack() as stack:
        for path in paths:
            hook = subnet.get_submodule(path).register_forward_pre_hook(partial(note, path), with_kwargs=True)
            stack.callback(hook.remove)
        stack.enter_context(evaluation_mode(subnet))
        stack.enter_context(torch.inference_mode())
        subnet(*inputs)
    return found


def _sample(calls: Sequence[Call], pool: dict[str, Tensor]) -> Sample:
    part, args, kwargs = calls[0]
    given = [_pooled(value, pool) for value in args]
    named = {name: _pooled(value, pool) for name, value in kwargs.items()}
    shapes = [_shape(value) for value in (*part.parameters(), *part.buffers(), *given, *named.values())]

    def call() -> object:
        """Call the layer once, as it was called."""
        with torch.inference_mode():
            return part(*given, **named)

    return Sample(call, f"{type(part).__name__}({part.extra_repr()}) {shapes}", len(calls))


def _pooled(value: Any, pool: dict[str, Tensor]) -> Any:
    """Return a tensor like `value` that all layers share, so that inputs take little room."""
    if not isinstance(value, Tensor):
        return value
    return pool.setdefault(_shape(value), value.clone())


def _shape(value: Any) -> str:
    return f"{value.dtype}{tuple(value.shape)}{value.stride()}" if isinstance(value, Tensor) else repr(value)
