"""Torch-Pruning's DependencyGraph, kept to this one file: it proposes which layer sides are coupled, no more.

Nothing it says is believed: `verify` judges every proposal. It runs on a copy, in a thread of its own that is stopped
when the time is up, because on some networks its search does not end.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from concertina.analyse.stand_ins import STAND_IN, put_stand_ins

ROOTS = (_ConvNd, nn.Linear, nn.Embedding)
"""Kinds of layer whose outputs are asked for."""
_ONE_AT_A_TIME = threading.Lock()
"""The library keeps state in module-level objects."""


@dataclass(frozen=True)
class Touch:
    """One side of a layer, or of a tensor used by itself, that the proposer couples."""

    path: str
    """Path of the layer, or name of the tensor."""
    end: Literal["in", "out", "raw"]
    dim: int = -1
    """Which side of a raw tensor."""
    starts: tuple[int, ...] = ()
    """Where on the side the units lie, all of them in order, each with as many positions; none: scattered."""
    length: int = 0
    """How many positions the units own from each start on."""
    size: int = 0
    """Length of the side."""

    @property
    def whole(self) -> bool:
        """Whether the units cover all of the side, each with one run of positions, in order."""
        return self.starts == (0,) and self.length == self.size


@dataclass(frozen=True)
class Coupling:
    """What the proposer takes for one group, as plain data."""

    units: int
    touches: tuple[Touch, ...]


@dataclass(frozen=True)
class Proposal:
    """All couplings found, and why they may not be all there are."""

    couplings: tuple[Coupling, ...]
    complaint: str = ""
    """Why the search ended early; empty when it did not."""


class _TimeIsUp(BaseException):
    """Thrown into the searching thread to end it."""


def propose(module: nn.Module, example_inputs: Sequence[Tensor], time_limit_s: float) -> Proposal:
    """Return what DependencyGraph takes for coupled.

    Args:
        module: A copy of the network, in eval mode, that may be used up.
        example_inputs: What it is called with, (batch, ...) each.
        time_limit_s: Seconds after which the search is ended; what was found until then is returned.

    Source: Fang et al., DepGraph (arXiv:2301.12900), by way of Torch-Pruning.
    """
    found: list[Coupling] = []
    failures: list[str] = []

    def search() -> None:
        """Collect couplings until the search ends, fails, or time is up."""
        try:
            for coupling in _couplings(module, example_inputs):
                found.append(coupling)  # noqa: PERF402 - what is found before the time is up counts
        except _TimeIsUp:
            failures.append(f"the search for coupled channels did not end within {time_limit_s:g} s")
        except Exception as error:  # the library may stumble over anything in a user's network; that is no verdict
            failures.append(f"the search for coupled channels failed: {type(error).__name__}: {_first_line(error)}")

    with _ONE_AT_A_TIME:
        ended = _run_limited(search, time_limit_s)
    if not ended:
        failures.append(f"the search for coupled channels did not end within {time_limit_s:g} s")
    return Proposal(tuple(found), failures[0] if failures else "")


def _run_limited(work: Callable[[], None], time_limit_s: float) -> bool:
    """Run `work` in a thread and throw `_TimeIsUp` into it after a while; return whether the thread ended."""

    def quietly() -> None:
        """Do the work; that time is up is no error."""
        with contextlib.suppress(_TimeIsUp):
            work()

    thread = threading.Thread(target=quietly, name="concertina-dependency-graph", daemon=True)
    thread.start()
    thread.join(max(0.0, time_limit_s))
    patience = time.monotonic() + 5.0
    while thread.is_alive() and thread.ident is not None and time.monotonic() < patience:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_TimeIsUp))
        thread.join(0.2)
    return not thread.is_alive()


def _couplings(module: nn.Module, example_inputs: Sequence[Tensor]) -> Iterator[Coupling]:
    """Yield the couplings one by one, as the library finds them."""
    put_stand_ins(module, example_inputs)
    names = {id(tensor): name for name, tensor in module.named_parameters()}
    paths = {id(layer): path.removesuffix(f".{STAND_IN}") for path, layer in module.named_modules()}
    with torch.enable_grad():
        for parameter in module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        graph: Any = torch_pruning.DependencyGraph()
        graph.build_dependency(module, tuple(example_inputs), verbose=False)
        for group in graph.get_all_groups(root_module_types=list(ROOTS)):
            units = graph.get_out_channels(group[0].dep.target)
            touches = (_touch(graph, item, units, names, paths) for item in group)
            yield Coupling(units, tuple(dict.fromkeys(touch for touch in touches if touch is not None)))


def _touch(graph: Any, item: Any, units: int, names: dict[int, str], paths: dict[int, str]) -> Touch | None:
    """Return an item of the library's group as plain data; None for what has no tensors, such as an addition."""
    node, handler = item.dep.target, item.dep.handler
    if isinstance(node.module, nn.Parameter):
        size = node.module.shape[node.pruning_dim]
        return Touch(names[id(node.module)], "raw", node.pruning_dim, *_runs(item, units, size), size)
    if id(node.module) not in paths:
        return None
    outwards = graph.is_out_channel_pruning_fn(handler)
    size = graph.get_out_channels(node) if outwards else graph.get_in_channels(node)
    if size is None:
        return None
    return Touch(paths[id(node.module)], "out" if outwards else "in", -1, *_runs(item, units, size), size)


def _runs(item: Any, units: int, size: int) -> tuple[tuple[int, ...], int]:
    """Return where the units of an item start, again and again, and how many positions they own from there on.

    Nothing where a position lies out of order or beyond the side, as the library may have it around padding.
    """
    owners = dict(zip(item.idxs, item.root_idxs or [], strict=False))
    positions = sorted(owners)
    if not positions or positions[-1] >= size or len(owners) != len(item.idxs) or len(positions) % units:
        return (), 0
    run = 1
    while owners.get(positions[0] + run) == owners[positions[0]]:
        run += 1
    length = run * units
    starts = tuple(positions[::length])
    expected = {start + i: i // run for start in starts for i in range(length)}
    return (starts, length) if owners == expected else ((), 0)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")
