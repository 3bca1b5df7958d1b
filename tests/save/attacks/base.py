"""The list that every attack enters itself into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tests.save.builders import small_family
from tests.save.forge import Parts, join, take_apart


@dataclass(frozen=True)
class Attack:
    """A hostile file."""

    name: str
    build: Callable[[], bytes]
    error: type[Exception] | None
    """What opening, reading or reading the tables must raise; None when the file must load as written."""
    words: str
    """A regular expression that the error's text must match."""


ATTACKS: list[Attack] = []


@cache
def sound() -> bytes:
    """Return the bytes of the small family, as a file that nobody has touched."""
    return small_family().data


def attack(error: type[Exception] | None, words: str = "") -> Callable[[Callable[[Parts], bytes | None]], object]:
    """Register a builder that changes the parts of a sound file, or returns bytes of its own."""

    def add(change: Callable[[Parts], bytes | None]) -> object:
        def build() -> bytes:
            parts = take_apart(sound())
            made = change(parts)
            return join(parts) if made is None else made

        ATTACKS.append(Attack(change.__name__, build, error, words))
        return change

    return add
