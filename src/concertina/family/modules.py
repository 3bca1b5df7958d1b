"""Modules of a family: what each is, their names, and how they are plugged into an operating point."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from concertina.errors import InputError, PointError, UnknownNameError, did_you_mean, some
from concertina.family.routing import Gaussian
from concertina.nest import Supernet
from concertina.nest.plugged import Plug, with_plugs

log = logging.getLogger("concertina")

LONGEST_NAME = 100
HEAD, OUTPUT_HEAD, TOKEN_HEAD = "head", "head-on-outputs", "head-on-tokens"
"""Kinds of modules that have answers of their own: in the place of the last layer, behind the whole network, and over
the tokens inside it."""
HEADS = (HEAD, OUTPUT_HEAD, TOKEN_HEAD)
HALF = torch.bfloat16
"""Of 16 bits: as many for the exponent as 32 have, so that no statistic leaves its range."""
BASE, AUTO = "__base__", "auto"
"""In the place of a module's name: none; and whichever the router chooses."""
OFF = "-"
"""Before the name of a module that takes an attribute out."""


@dataclass(frozen=True, eq=False)
class Module:
    """A named module: what is plugged in, the statistics that go with it, and the classes it answers in."""

    name: str
    plugs: tuple[Plug, ...]
    private: Mapping[str, Mapping[str, Tensor]]
    """Point name -> moving statistics of the core with the module; empty where no layer has any."""
    class_names: tuple[str, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    """How it came about."""
    removes: str = ""
    """The attribute that it takes out; empty for a domain."""
    router: Gaussian | None = None
    """What the core's features of its domain look like; None where that was not learnt."""
    half: bool = False
    """Whether its values are those that 16 bits can hold (bfloat16), and it is stored in so many."""

    @property
    def heads(self) -> set[str]:
        """Paths of the layers in whose place it answers."""
        return {path for plug in self.plugs if plug.kind in HEADS for path in plug.places}

    @property
    def task(self) -> str:
        """Name of the task that its head is for; empty for that of the family."""
        kinds = {plug.kind for plug in self.plugs}
        return "tagging" if TOKEN_HEAD in kinds else "classification" if OUTPUT_HEAD in kinds else ""

    @property
    def size_bytes(self) -> int:
        """Bytes of all its tensors as stored, statistics of every point and what the router knows included."""
        held = [t for plug in self.plugs for t in plug.tensors.values()]
        held += [t for tensors in self.private.values() for t in tensors.values()]
        held += self.router.tensors.values() if self.router else ()
        return sum(t.numel() * (2 if self.half and t.is_floating_point() else t.element_size()) for t in held)

    def halved(self) -> Module:
        """Return the module with every value rounded to what 16 bits hold, to be stored in half the bytes."""
        plugs = tuple(plug.with_tensors({key: rounded(t) for key, t in plug.tensors.items()}) for plug in self.plugs)
        private = {point: {key: rounded(t) for key, t in held.items()} for point, held in self.private.items()}
        router = self.router.changed(rounded) if self.router else None
        return replace(self, plugs=plugs, private=private, router=router, half=True)

    def __repr__(self) -> str:
        kinds = " + ".join(plug.kind for plug in self.plugs) or "nothing"
        return f"Module({self.name!r}, {kinds}, {self.size_bytes:,} bytes)"


def rounded(tensor: Tensor) -> Tensor:
    """Return a tensor with its values rounded to bfloat16, in its own type; whole numbers stay as they are.

    Example:
        >>> rounded(torch.tensor([1.001])).tolist()
        [1.0]
    """
    return tensor.to(HALF).to(tensor.dtype) if tensor.is_floating_point() else tensor


class Modules(Mapping[str, Module]):
    """The modules of a family by name, in the order in which they came; one in the file is read when it is asked for.

    Args:
        stored: Names of the modules in the family's file.
        read: Returns one of these.
    """

    def __init__(self, stored: Iterable[str] = (), read: Callable[[str], Module] | None = None) -> None:
        self._held: dict[str, Module | None] = dict.fromkeys(stored)
        self._stored, self._read = set(self._held), read
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Module:
        with self._lock:
            if name not in self._held:
                allowed, do = some(self._held) or "none is there yet", did_you_mean(name, self._held)
                raise UnknownNameError("unknown module", asked=repr(name), allowed=allowed, do=do)
            found = self._held[name]
            if found is None:
                if self._read is None:
                    raise UnknownNameError("unknown module", asked=repr(name), allowed="none can be read")
                found = self._held[name] = self._read(name)
            return found

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._held))

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __repr__(self) -> str:
        told = [repr(held) if held else f"Module({name!r}, in the file)" for name, held in self._held.items()]
        return "\n".join(told) or "no modules"

    @property
    def here(self) -> tuple[Module, ...]:
        """Those that are in memory."""
        return tuple(module for module in self._held.values() if module is not None)

    def check_new(self, name: object) -> None:
        """Refuse what is no name, or is taken.

        Raises:
            InputError: The text says which.
        """
        fits = isinstance(name, str) and name.isprintable() and name == name.strip() and 0 < len(name) <= LONGEST_NAME
        if not fits or not isinstance(name, str) or "," in name or name.startswith(OFF) or name in (BASE, AUTO):
            allowed = f"1 to {LONGEST_NAME} characters, no comma, no {OFF!r} in front, not {BASE!r} or {AUTO!r}"
            raise InputError("name of a module", asked=repr(name), allowed=allowed)
        if name in self._held:
            do = "Delete it first, or choose another name."
            raise InputError("name of a module", asked=repr(name), allowed="a new one", do=do)

    def add(self, module: Module) -> None:
        """Take in a module.

        Raises:
            InputError: There is one of that name already.
        """
        self.check_new(module.name)
        self._held[module.name] = module

    def delete(self, name: str) -> None:
        """Forget a module; the core is as it was without it.

        Raises:
            UnknownNameError: There is none of that name.
        """
        if name not in self._held:
            _ = self[name]
        with self._lock:
            self._held.pop(name, None)
            self._stored.discard(name)

    def say_left_behind(self) -> None:
        """Warn that a family made from this one does not have its modules."""
        if self._held:
            log.warning("modules %s are not taken over: they fit the family they were trained on", some(self._held))

    def read_again(self) -> None:
        """Let the modules of the file be read anew when they are asked for: there are more points now."""
        with self._lock:
            self._held |= dict.fromkeys(self._stored)


def plugged_view(supernet: Supernet, point: str, modules: Sequence[Module], *, merged: bool = False) -> nn.Module:
    """Return an operating point with modules plugged in; the first that has statistics of its own gives them.

    Args:
        supernet: The family.
        point: Name of the point.
        modules: The modules, in order.
        merged: Whether changes of weights are merged into copies of what they touch.

    Raises:
        PointError: A module has statistics, but none for this point: it was not there when the module was trained.
    """
    own = supernet.private[point]
    for module in reversed(modules):
        if module.private and point not in module.private:
            there, do = ", ".join(module.private), "Train the module anew, now that the point is there."
            raise PointError(f"statistics of module {module.name!r}", asked=repr(point), allowed=there, do=do)
        own = {**supernet.private[point], **module.private[point]} if module.private else own
    plugs = [plug for module in modules for plug in module.plugs]
    return with_plugs(supernet, supernet.points[point].spec, plugs, own, merged=merged)
