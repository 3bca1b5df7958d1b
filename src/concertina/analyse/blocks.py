"""Residual blocks that a network can do without: those that give back their input when their weights are at rest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from concertina.analyse.cut import cause
from concertina.analyse.events import hooked, is_close
from concertina.analyse.memo import Tape
from concertina.analyse.probe import SAME, Probe
from concertina.analyse.rest import at_rest, normalised, resting_norms
from concertina.errors import AnalysisError
from concertina.types import Block

COUNTER = "num_batches_tracked"
"""Last part of the name of a tensor that no block is charged with."""


class Skip(nn.Module):
    """Stands where a block was skipped and gives back the block's first input.

    It keeps the block's plain values, numbers and texts, which some networks read to see what to call a block with.

    Args:
        block: The block.
        returns: How many things it gave back as a tuple; 0 for a tensor by itself.
    """

    def __init__(self, block: nn.Module, returns: int = 0) -> None:
        super().__init__()
        for name, value in vars(block).items():
            if name not in vars(self) and not name.startswith("_") and isinstance(value, bool | int | float | str):
                setattr(self, name, value)
        self.returns = returns

    def forward(self, x: Tensor, *_args: Any, **_kwargs: Any) -> Any:
        """Return `x`, of any shape (batch, ...), as it came; in a tuple where the block gave one."""
        return (x, *[None] * (self.returns - 1)) if self.returns else x


@dataclass
class _Call:
    """One call of a module: what went in and what came out."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    count: int = 1
    is_post_norm: bool = False
    """Whether it gives back its input only with neutral normalisations, and normalised."""


def find_blocks(probe: Probe) -> tuple[Block, ...]:
    """Return the modules that are the identity without their weights, and their siblings that are not.

    A module is elastic when it holds a convolution or linear layer, is called once, turns one tensor into one of the
    same shape, gives back its input when all its weights are at rest, shares none of them, and when the network gives
    the same with the module taken out as with its weights at rest. At rest all weights are zero; in a block that ends
    with a normalisation (post-norm) those of normalisations are neutral, and so are the others of the network then.
    A module that only strings together smaller such modules is none. Modules of the same class that fail are listed as
    rigid, each with its reason.

    Args:
        probe: The randomised network.

    Source: PROTOTYPE section 3 (ours), after stochastic depth (arXiv:1603.09382).
    """
    with probe.exactly():
        return _found(probe, _calls(probe))


def _found(probe: Probe, calls: dict[str, _Call]) -> tuple[Block, ...]:
    modules = dict(probe.module.named_modules())
    readers = {side.path for side in probe.wiring.sides.values() if side.role in ("in", "depthwise")}
    weighty = [path for path in calls if path and any(reader.startswith(f"{path}.") for reader in readers)]
    reasons = {path: _why_no_identity(probe, modules[path], calls[path]) for path in weighty}
    passing = [path for path, why in reasons.items() if not why]
    blocks = [path for path in passing if _has_own(path, passing, readers)]
    kinds = {type(modules[path]) for path in blocks if not type(modules[path]).__module__.startswith("torch.")}
    listed = [path for path in calls if path in blocks or (path not in passing and type(modules[path]) in kinds)]
    found, tape = [], Tape()
    if any(calls[path].is_post_norm for path in blocks):
        with at_rest(probe, {}, probe.module), suppress(AnalysisError):
            probe.run(into=tape)
    for path in (path for path in modules if path in listed):
        block = Block(path, _tensors_of(probe, path), returns=_main(calls[path].output)[1])
        why = reasons[path] if path in reasons else _why_no_identity(probe, modules[path], calls[path])
        found.append(replace(block, rigid=why or _why_not_skippable(probe, block, calls[path].is_post_norm, tape)))
    return tuple(found)


def _has_own(path: str, passing: Sequence[str], readers: Collection[str]) -> bool:
    """Return whether a module has weights that are in none of the smaller blocks inside it."""
    smaller = [f"{other}." for other in passing if other.startswith(f"{path}.")]
    return any(reader.startswith(f"{path}.") and not reader.startswith(tuple(smaller)) for reader in readers)


@contextmanager
def skipping(module: nn.Module, blocks: Sequence[Block]) -> Iterator[None]:
    """Within the context, some blocks of `module` are replaced by modules that give back their input."""
    places = [block.path.rpartition(".") for block in blocks]
    parents = [(module.get_submodule(parent), name) for parent, _, name in places]
    before = [getattr(parent, name) for parent, name in parents]
    try:
        for (parent, name), block in zip(parents, blocks, strict=True):
            setattr(parent, name, Skip(getattr(parent, name), block.returns))
        yield
    finally:
        for (parent, name), kept in zip(parents, before, strict=True):
            setattr(parent, name, kept)


def _calls(probe: Probe) -> dict[str, _Call]:
    """Return path -> the first call of every module with parameters, and how often it is called."""
    calls: dict[str, _Call] = {}

    def note(path: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Keep the first call of a module and count the others."""
        if path in calls:
            calls[path].count += 1
        else:
            calls[path] = _Call(_kept(args), _kept(kwargs), _kept(output))

    def hook(path: str) -> Any:
        """Return a forward hook that notes calls under a path."""
        return lambda _layer, args, kwargs, output: note(path, args, kwargs, output)

    handles = [
        layer.register_forward_hook(hook(path), with_kwargs=True)
        for path, layer in probe.module.named_modules()
        if any(True for _ in layer.parameters())
    ]
    with hooked(handles):
        probe.run()
    return calls


def _why_no_identity(probe: Probe, module: nn.Module, call: _Call) -> str:
    """Return why a module is no residual block; "" when it is one."""
    if not call.args:
        return "its input is given by name, not as its first argument"
    x, (output, _) = call.args[0], _main(call.output)
    if not isinstance(x, Tensor) or output is None:
        return "it does not turn one tensor into one tensor"
    if x.shape != output.shape:
        return f"it turns shape {tuple(x.shape[1:])} into {tuple(output.shape[1:])}"
    if is_close(output, x):
        return "it does nothing"
    if why := _why_not_given_back(probe, module, call, x):
        return why
    return f"it is called {call.count} times" if call.count > 1 else ""


def _why_not_given_back(probe: Probe, module: nn.Module, call: _Call, x: Tensor) -> str:
    """Return why a module does not give back its input x (batch, ...) at rest; "" when it does."""
    own = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    mine = {name: tensor for name, tensor in probe.tensors.items() if id(tensor) in own}
    why = "without its weights it does not give back its input"
    for post_norm in (False, True) if resting_norms(module) else (False,):
        given = normalised(x) if post_norm else x
        with at_rest(probe, mine, module if post_norm else None), torch.no_grad():
            try:
                output, _ = _main(module(given.clone(), *_kept(call.args[1:]), **_kept(call.kwargs)))
            except Exception as error:  # a user's forward may raise anything
                return f"it fails without its weights: {next(iter(str(error).splitlines()), '')}"
        if output is not None and is_close(output, given):
            call.is_post_norm = post_norm
            return ""
    return why


def _main(output: Any) -> tuple[Tensor | None, int]:
    """Return the tensor that a module gives, and the length of the tuple it stands first in; 0 without a tuple.

    None where it gives something else. Whether anybody reads the rest of the tuple shows when it is gone.
    """
    if isinstance(output, Tensor):
        return output, 0
    if type(output) is tuple and output and isinstance(output[0], Tensor):
        return output[0], len(output)
    return None, 0


def _why_not_skippable(probe: Probe, block: Block, is_post_norm: bool, tape: Tape) -> str:
    """Return why a residual block cannot be taken out of its network; "" when it can.

    Args:
        probe: The randomised network.
        block: A block that gives back its input.
        is_post_norm: Whether it does so with neutral normalisations only.
        tape: Operations of the network with neutral normalisations.
    """
    with probe.knowing(tape):
        return _why_not_taken_out(probe, block, is_post_norm)


def _why_not_taken_out(probe: Probe, block: Block, is_post_norm: bool) -> str:
    outside = _held_outside(probe, block.path)
    if outside:
        return f"a tensor of it is also used outside, as '{outside}'"
    mine = {name: probe.tensors[name] for name in block.tensors}
    failure = ""
    neutral: list[nn.Module | None] = [probe.module] if resting_norms(probe.module.get_submodule(block.path)) else []
    for norms_of in (*neutral, None) if is_post_norm else (None, *neutral):
        try:
            with at_rest(probe, mine, norms_of):
                silent = probe.run()
        except AnalysisError:
            continue
        try:
            with at_rest(probe, {}, norms_of), skipping(probe.module, [block]):
                if probe.error(probe.run(), silent) < SAME:
                    return ""
        except AnalysisError as error:
            failure = f"the network fails without it: {cause(error)}"
    return failure or "the network uses it in another way than by calling it"


def _held_outside(probe: Probe, path: str) -> str:
    """Return the name under which a tensor of a block is held outside of it; "" when none is."""
    inside = {id(tensor) for tensor in probe.module.get_submodule(path).parameters()}
    held = probe.module.named_parameters(remove_duplicate=False)
    return next((name for name, p in held if id(p) in inside and not name.startswith(f"{path}.")), "")


def _tensors_of(probe: Probe, path: str) -> tuple[str, ...]:
    names = (name for name in probe.tensors if name.startswith(f"{path}."))
    return tuple(name for name in names if not name.endswith(COUNTER))


def _kept(value: Any) -> Any:
    """Return inputs or outputs with every tensor copied, so that later in-place changes do not reach them."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _kept(item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_kept(item) for item in value)
    return value
