"""One registry for every kind of part: criteria, axes, recipes, tasks, zoo networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from concertina.errors import UnknownNameError, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered part, with what the docs and the support table say of it."""

    name: str
    """Name users type, lower case with dashes."""
    part: T
    """The registered class or function."""
    summary: str
    """First line of the part's docstring."""
    source: str
    """Paper or project the method comes from, or "ours"."""
    methods: tuple[str, ...]
    """Ids of docs/methods.md that this part implements."""
    licence: str = ""
    """Licence of what comes with the part (weights), where something does."""
    year: int = 0
    """Year of the source; 0 when it is ours."""


class Registry(Generic[T]):
    """Parts of one kind by name; unknown, doubled and ill-formed names are refused.

    Args:
        kind: What the parts are, in the singular, for messages ("criterion").

    Example:
        >>> colours: Registry[type] = Registry("colour")
        >>> @colours.register("red", source="ours")
        ... class Red:
        ...     "A warm one."
        >>> colours.names(), colours.get("red") is Red
        (('red',), True)
        >>> colours.get("rod")
        Traceback (most recent call last):
        concertina.errors.UnknownNameError: unknown colour: got 'rod'; allowed: red. Did you mean 'red'?
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def register(
        self, name: str, *, source: str, methods: tuple[str, ...] = (), licence: str = "", year: int = 0
    ) -> Callable[[T], T]:
        """Return a decorator that registers a part under `name`.

        Raises:
            ValueError: The name is ill-formed or taken, or the part has no docstring.
        """
        if not name or name != name.lower() or not all(c.isalnum() or c in "-." for c in name):
            raise ValueError(f"{self.kind} name {name!r} must be lower case letters, digits, dashes and dots")

        def add(part: T) -> T:
            """Register a part and return it."""
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            summary = (part.__doc__ or "").strip().split("\n")[0]
            if not summary:
                raise ValueError(f"{self.kind} {name!r} needs a docstring")
            self._entries[name] = Entry(name, part, summary, source, methods, licence, year)
            return part

        return add

    def get(self, name: str) -> T:
        """Return the part called `name`.

        Raises:
            UnknownNameError: No such part; the text names the nearest and all there are.
        """
        return self.entry(name).part

    def entry(self, name: str) -> Entry[T]:
        """Return the whole entry called `name`; raises like `get`."""
        if not isinstance(name, str) or name not in self._entries:
            raise UnknownNameError(
                f"unknown {self.kind}",
                asked=repr(name),
                allowed=", ".join(sorted(self._entries)),
                do=did_you_mean(name, self._entries),
            )
        return self._entries[name]

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        return tuple(sorted(self._entries))

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(self._entries[name] for name in self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._entries
