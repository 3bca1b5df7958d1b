"""What the modules of a network give, call by call, and where two runs first differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Event = tuple[str, tuple[Tensor, ...]]
"""Path of a module and the tensors that one call of it gave."""
CLOSE = 1e-5
"""Largest difference, relative to the largest value, between tensors that count as equal."""


def record(module: nn.Module, inputs: Sequence[Tensor]) -> list[Event]:
    """Return what every call of every module gives, in order of completion."""
    events: list[Event] = []

    def keep(path: str, tensors: tuple[Tensor, ...]) -> None:
        """Keep copies of what a module gave."""
        events.append((path, tuple(tensor.clone() for tensor in tensors)))

    with _watched(module, keep), torch.no_grad():
        module(*(item.clone() for item in inputs))
    return events


def first_difference(
    module: nn.Module,
    inputs: Sequence[Tensor],
    events: Sequence[Event],
    same: Callable[[str, Tensor, Tensor], bool],
) -> tuple[int, str] | None:
    """Run a network and return the first call (number, path) that gives something else; None when none does.

    Args:
        module: The network.
        inputs: What it is called with, (batch, ...) each.
        events: What another run gave.
        same: Whether, at a path, a tensor (second) may stand where another one (third) stood in that run.
    """
    count = 0

    def check(path: str, tensors: tuple[Tensor, ...]) -> None:
        """Stop at the first call that gives something else than before."""
        nonlocal count
        old_path, old = events[count] if count < len(events) else ("", ())
        agrees = path == old_path and len(tensors) == len(old)
        if not agrees or not all(same(path, new, was) for new, was in zip(tensors, old, strict=True)):
            raise _FoundError(count, path)
        count += 1

    try:
        with _watched(module, check), torch.no_grad():
            module(*(item.clone() for item in inputs))
    except _FoundError as found:
        return found.count, found.path
    return None


def failing_path(module: nn.Module, inputs: Sequence[Tensor]) -> str:
    """Return the path of the innermost module inside which a network breaks off; "" for the network itself."""
    inside: list[str] = []

    def enter(path: str) -> Callable[..., None]:
        """Return a hook that notes that a module is being run."""
        return lambda _layer, _args: inside.append(path)

    handles = [layer.register_forward_pre_hook(enter(path)) for path, layer in module.named_modules()]
    try:
        with hooked(handles), _watched(module, lambda _path, _tensors: inside.pop()), torch.no_grad():
            module(*(item.clone() for item in inputs))
    except Exception:  # whatever broke off is known to the caller; asked for is only where
        return inside[-1] if inside else ""
    return ""


def is_close(new: Tensor, old: Tensor) -> bool:
    """Return whether two tensors are equal but for rounding."""
    if new.shape != old.shape or torch.equal(new, old):
        return new.shape == old.shape
    if not old.is_floating_point():
        return False
    return not old.numel() or float((new - old).abs().max()) <= CLOSE * max(float(old.abs().max()), 1e-12)


def is_prefix(new: Tensor, old: Tensor) -> bool:
    """Return whether a tensor is the first corner of another one."""
    if new.dim() != old.dim() or any(a > b for a, b in zip(new.shape, old.shape, strict=True)):
        return False
    return is_close(new, old[tuple(slice(size) for size in new.shape)])


@contextmanager
def hooked(handles: Sequence[RemovableHandle]) -> Iterator[None]:
    """Within the context hooks are in place, which are removed afterwards."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _watched(module: nn.Module, tell: Callable[[str, tuple[Tensor, ...]], object]) -> Iterator[None]:
    """Within the context, `tell(path, tensors)` is called after every call of every module."""

    def hook(path: str) -> Callable[..., None]:
        """Return a hook that tells what a module gives."""

        def leave(_layer: nn.Module, _args: object, output: object) -> None:
            """Tell the tensors of one call's output."""
            tell(path, tuple(_tensors(output)))

        return leave

    handles = [layer.register_forward_hook(hook(path)) for path, layer in module.named_modules()]
    with hooked(handles):
        yield


class _FoundError(Exception):
    """Ends a run early: the first difference is found."""

    def __init__(self, count: int, path: str) -> None:
        super().__init__(path)
        self.count, self.path = count, path


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors inside whatever a module returned."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from _tensors(item)
    elif isinstance(output, list | tuple):
        for item in output:
            yield from _tensors(item)
