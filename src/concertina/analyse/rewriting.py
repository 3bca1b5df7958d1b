"""Layers put in another form that computes the same or nearly so: how, where, and whether the network bears it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from concertina.errors import LoadError
from concertina.registry import Registry
from concertina.types import Core, Rewrite

SAME = 1e-3
"""Largest relative difference between the outputs of a network with rewritten layers and what they ought to be."""


class Way(ABC):
    """How layers of a kind are put in another form."""

    @abstractmethod
    def fits(self, layer: nn.Module) -> bool:
        """Return whether a layer is of this kind."""

    @abstractmethod
    def limits(self, layer: Any) -> tuple[int, int]:
        """Return two numbers; a rank is above neither."""

    @abstractmethod
    def build(self, layer: Any, how: Rewrite) -> nn.Module:
        """Return what stands in the layer's place, on its device, with values that do not matter."""


WAYS: Registry[type[Way]] = Registry("way to rewrite a layer")


def put_rewritten(module: nn.Module, rewritten: Mapping[str, Rewrite]) -> None:
    """Replace layers by others of the right shapes, in place; values do not matter.

    Args:
        module: The network.
        rewritten: Path of a layer -> its form; a layer comes before those that are in its new form.

    Raises:
        LoadError: There is no such layer, it is of another kind, or the rank is none that it could have.
    """
    for path, how in rewritten.items():
        layer = _found(module, path)
        if how.way not in WAYS or layer is None or not WAYS.get(how.way)().fits(layer):
            kind = type(layer).__name__ if layer is not None else "no module of this name"
            raise LoadError(f"rewritten layer {path!r}", asked=kind, allowed=f"a layer for the way {how.way!r}")
        way = WAYS.get(how.way)()
        if not 0 < how.rank <= min(way.limits(layer)):
            allowed = f"1 to {min(way.limits(layer))}"
            raise LoadError(f"rank of layer {path!r}", asked=str(how.rank), allowed=allowed)
        replace_module(module, path, way.build(layer, how))


def _found(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path) if path else None
    except AttributeError:
        return None


def replace_module(module: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` in the place of the module at `path`, in its mode."""
    parent, _, name = path.rpartition(".")
    held = module.get_submodule(parent)
    setattr(held, name, new.train(held.get_submodule(name).training))


def with_layers(module: nn.Module, made: Mapping[str, nn.Module]) -> nn.Module:
    """Return a copy of a network with copies of others in the places of layers."""
    copied = copy.deepcopy(module)
    for path, new in made.items():
        replace_module(copied, path, copy.deepcopy(new))
    return copied


def rewritten_core(core: Core, made: Mapping[str, nn.Module], how: Mapping[str, Rewrite]) -> Core:
    """Return a core with layers in another form; it remembers the network as it was, which teaches.

    Args:
        core: The core.
        made: Path -> what stands there now.
        how: Path -> its form, for the file.
    """
    return replace(
        core,
        module=with_layers(core.module, made),
        rewritten={**core.rewritten, **{path: how[path] for path in made}},
        teacher=core.teacher if core.teacher is not None else core.module,
    )


def as_loaded(core: Core) -> Core:
    """Return the core as it was before layers were rewritten; itself where none is."""
    return core if core.teacher is None else replace(core, module=core.teacher, rewritten={}, teacher=None)


def not_borne(core: Core, made: Mapping[str, nn.Module], wanted: Callable[[Sequence[str]], nn.Module]) -> list[str]:
    """Return layers with which the network fails in their new form, or computes something else than it ought to.

    A network may read a layer's weight itself, or ask for its class. Many are tried together, and halved until the
    culprits are found.

    Args:
        core: The network.
        made: Path -> what would stand there.
        wanted: Gives, for some paths, a network of the old form that computes what the new one ought to.
    """

    def agrees(paths: Sequence[str]) -> bool:
        """Return whether the network with these layers gives what is wanted of it."""
        try:
            with torch.no_grad():
                ours, theirs = (
                    network(*core.example_inputs)
                    for network in (with_layers(core.module, {path: made[path] for path in paths}), wanted(paths))
                )
        except Exception:  # what a network's own code does with a layer of another class, nobody knows
            return False
        return bool((ours - theirs).abs().max() <= SAME * theirs.abs().max())

    def sift(paths: list[str]) -> list[str]:
        """Return the layers that fail, found by halves."""
        if not paths or agrees(paths):
            return []
        half = len(paths) // 2
        return [*sift(paths[:half]), *sift(paths[half:])] if half else paths

    return sift(list(made))
