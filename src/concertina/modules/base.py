"""The one shape of a kind of module: small tensors at some layers of a frozen core, which fit every size of it.

A module is plain data: layer path -> own tensors. Each own tensor says which of its sides go along with which sides of
the core's tensors, so that a subnet of the core gets the same subnet of the module: prefixes of the core's sorted
channels are prefixes of the module's. A *mergeable* kind is a change of the core's weights; others add computation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from concertina.errors import InputError, did_you_mean, some
from concertina.registry import Registry


@dataclass(frozen=True)
class Follows:
    """One side of an own tensor that goes along with one side of a core's tensor."""

    dim: int
    """Side of the own tensor."""
    tensor: str
    """Name of the core's tensor."""
    of: int
    """Side of the core's tensor."""


@dataclass(frozen=True, eq=False)
class Owned:
    """One tensor of a module."""

    tensor: Tensor
    follows: tuple[Follows, ...] = ()


Places = Mapping[str, Mapping[str, Owned]]
"""Path of a layer -> name -> own tensor; the name is the kind's own ("A", "B")."""


class Kind(ABC):
    """A kind of module; final classes only, found through `KINDS`."""

    name: str
    mergeable: bool
    """Whether it is a change of weights, so that it can be merged into a copy of those it touches."""
    options: Mapping[str, Any]
    """Options it takes, with their defaults."""
    whole: bool = False
    """Whether it is put on the network as a whole, whose path is the empty text."""
    scales: bool = False
    """Whether it multiplies what a layer computes; it then acts on all that others have added."""
    reads_inputs: bool = False
    """Of a kind that is never merged: whether it reads what the layer reads."""
    around: bool = False
    """Whether it is put on one layer and around the whole subnet."""

    @abstractmethod
    def suits(self, layer: nn.Module) -> bool:
        """Return whether the kind can be put on a layer."""

    @abstractmethod
    def own(
        self, layer: nn.Module, names: Mapping[str, str], options: Mapping[str, Any], generator: torch.Generator
    ) -> dict[str, Owned]:
        """Return the own tensors of one layer, such that nothing changes yet where a kind can do so.

        Args:
            layer: A layer that suits.
            names: Attribute of the layer ("weight") -> name of that tensor in the network.
            options: All of `options`.
            generator: Source of all randomness.
        """

    @abstractmethod
    def delta(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return attribute of the layer -> what is added to it, in the layer's shapes; empty for what cannot merge.

        Args:
            layer: The layer of a subnet.
            own: The own tensors of that subnet.
            options: All of `options`.
        """

    @abstractmethod
    def attach(self, layer: nn.Module, own: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
        """Let the layer of a subnet compute with the module, in place, without a copy of its weights.

        Args:
            layer: The layer; it belongs to one subnet alone, its weights are shared.
            own: The own tensors of that subnet; gradients flow into them where they need any.
            options: All of `options`.
        """

    def attach_around(self, subnet: nn.Module, layer: nn.Module, options: Mapping[str, Any]) -> None:  # noqa: B027
        """Change in place what a whole subnet is given and gives, of a kind that is `around`; nothing for others.

        Args:
            subnet: The subnet, its layers attached.
            layer: The layer of it that the kind is put on.
            options: All of `options`.
        """


KINDS: Registry[type[Kind]] = Registry("kind of module")

PLAIN = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weight and bias are all that they compute with."""


def is_plain(layer: nn.Module) -> bool:
    """Return whether a layer is called, and computes as torch's own of its kind: what is added to it is then known.

    Subclasses that pad, scale or join something in their own `forward` do not, and the last layer of torch's own
    attention is never called.

    Example:
        >>> is_plain(nn.Linear(2, 2)), is_plain(nn.MultiheadAttention(2, 1).out_proj)
        (True, False)
    """
    forwards = [kind.forward for kind in PLAIN]
    return type(layer).forward in forwards and not isinstance(layer, NonDynamicallyQuantizableLinear)


def checked_options(kind: Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a kind's options with those given in place of the defaults.

    Raises:
        InputError: There is no such option, or it is of the wrong kind.
    """
    for name, value in given.items():
        if name not in kind.options:
            allowed = ", ".join(kind.options) or "none"
            do = did_you_mean(name, kind.options)
            raise InputError(f"option of a module of kind {kind.name!r}", asked=repr(name), allowed=allowed, do=do)
        wanted = type(kind.options[name])
        fits = isinstance(value, int | float if wanted is float else wanted) and not (
            isinstance(value, bool) and wanted is not bool
        )
        if not fits or (wanted in (int, float) and not 0 < value < 1e6):
            allowed = f"{wanted.__name__}{', above 0' if wanted in (int, float) else ''}"
            raise InputError(f"option {name} of a module", asked=repr(value), allowed=allowed)
    return {**kind.options, **given}


def layers_for(kind: Kind, module: nn.Module, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the paths of the layers that a kind is put on.

    Args:
        kind: The kind.
        module: The network.
        wanted: Parts of paths, as they stand between dots ("conv1", "layer2.0"); all layers that suit unless said.

    Raises:
        InputError: A name fits no layer, or none that suits; nothing is passed over in silence.
    """
    if kind.whole:
        if list(wanted) not in ([], [""]):
            raise InputError(
                f"layers of a module of kind {kind.name!r}", asked=some(wanted), allowed="none: it has one"
            )
        return ("",)
    paths = {path: layer for path, layer in module.named_modules() if path}
    if isinstance(wanted, str):
        raise InputError("layers of a module", asked=repr(wanted), allowed="a list of names")
    found: dict[str, None] = {}
    for name in wanted:
        named = [path for path in paths if f".{name}." in f".{path}."]
        fitting = [path for path in named if kind.suits(paths[path])]
        if not fitting:
            asked = f"{name!r}, {'which the kind does not suit' if named else 'which is no part of a path'}"
            ends = sorted({path.rpartition(".")[2] for path, layer in paths.items() if kind.suits(layer)})
            raise InputError(f"layers of a module of kind {kind.name!r}", asked=asked, allowed=some(ends))
        found |= dict.fromkeys(fitting)
    chosen = [path for path in paths if path in found] if wanted else [p for p, x in paths.items() if kind.suits(x)]
    if not chosen:
        raise InputError(f"a module of kind {kind.name!r}", asked="a network without any layer that it suits")
    return tuple(chosen)
