"""Lists made short: equal values counted, trailing defaults left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from concertina.save import strict


def runs(values: Sequence[str]) -> list[list[Any]]:
    """Return [value, how many times in a row] pairs."""
    return [[value, sum(1 for _ in group)] for value, group in groupby(values)]


def trim(values: list[Any], *defaults: Any) -> list[Any]:
    """Return `values` without the trailing ones that equal their defaults."""
    for default in reversed(defaults):
        if values[-1] != default:
            break
        values.pop()
    return values


def pad(value: object, where: str, least: int, *defaults: Any) -> list[Any]:
    """Return a list of `least + len(defaults)` items: those given, then the defaults.

    Raises:
        HeaderError: `value` is no list, or one of another length.
    """
    given = strict.listing(value, where, least, least + len(defaults))
    return [*given, *defaults[len(given) - least :]]


def pick(items: Sequence[Any], index: object, where: str) -> Any:
    """Return the item at `index`; raises `HeaderError` when there is none."""
    return items[strict.integer(index, where, 0, len(items) - 1)]


class Budget:
    """Counts what runs spread out to, so that a short text cannot fill the memory.

    Args:
        most: How much may be taken in all.
        noun: What is counted, for messages.
    """

    def __init__(self, most: int, noun: str) -> None:
        self.left, self.most, self.noun = most, most, noun

    def take(self, count: int, where: str) -> None:
        """Take `count`; raises `HeaderError` when that is more than is left."""
        self.left -= count
        if self.left < 0:
            strict.refuse_words(where, "more", f"up to {self.most} {self.noun} in all")
