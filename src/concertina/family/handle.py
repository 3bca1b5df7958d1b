"""A handle on one operating point: modules are set, merged and taken out again with the verbs users know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from torch import nn

from concertina.family.composing import composition, spelled
from concertina.family.modules import Modules


class Pluggable(Protocol):
    """What a handle needs of a family."""

    modules: Modules

    def with_modules(self, point: str, modules: str | Sequence[str], *, merged: bool = False) -> nn.Module:
        """Return an operating point with modules plugged in."""

    def view(self, name: str) -> nn.Module:
        """Return the plain operating point."""


class Handle:
    """One operating point with modules that can be changed; made by `Family.plugged`.

    Only the handle remembers what is set: the family and other handles know nothing of it. Give every thread its own.

    Args:
        family: The family.
        point: Name of the point.
    """

    def __init__(self, family: Pluggable, point: str) -> None:
        self._family, self._point = family, point
        self._set: tuple[str, ...] = ()
        self._merged = False
        self._network = family.view(point)

    def __call__(self, *inputs: Any) -> Any:
        """Return the answers of the point with what is set now."""
        return self._network(*inputs)

    @property
    def network(self) -> nn.Module:
        """The network that answers now."""
        return self._network

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the modules that are set, in order."""
        return self._set

    @property
    def merged(self) -> bool:
        """Whether what can be merged is merged."""
        return self._merged

    def set(self, modules: str | Sequence[str]) -> None:
        """Plug in these modules, and no others; "__base__" for none.

        Raises:
            UnknownNameError: There is no such module; what was set stays.
            InputError: They cannot go together; what was set stays.
        """
        self._take(spelled(modules), merged=self._merged)

    def merge(self) -> None:
        """Merge what is set, as far as it can be: no computation beside the core, copies of the tensors touched."""
        self._take(self._set, merged=True)

    def unmerge(self) -> None:
        """Attach what is set: the core's own tensors again, which were never written to."""
        self._take(self._set, merged=False)

    @contextmanager
    def disable(self) -> Iterator[None]:
        """Answer as the plain point within a `with` block; what was set comes back behind it."""
        before, merged = self._set, self._merged
        self._take((), merged=False)
        try:
            yield
        finally:
            self._take(before, merged=merged)

    def print_trainable_parameters(self) -> None:
        """Print how many values the modules that are set have, beside those of the point."""
        print(self)

    def __repr__(self) -> str:
        own = sum(p.num_parameters for m in composition(self._family.modules, self._set) for p in m.plugs)
        whole = sum(p.numel() for p in self._family.view(self._point).parameters())
        names = ", ".join(self._set) or "no modules"
        state = "merged" if self._merged else "attached"
        return f"{self._point} with {names} ({state}): {own:,} parameters beside {whole:,} ({100 * own / whole:.3g}%)"

    def _take(self, names: tuple[str, ...], *, merged: bool) -> None:
        network = self._family.with_modules(self._point, names, merged=merged)
        self._set, self._merged, self._network = names, merged, network
