"""JSON from a stranger: parsed without surprises, then read field by field.

Every refusal is a `HeaderError` that says where the value stands, what it is and what would be right.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterable
from typing import Any, NoReturn

from concertina.errors import HeaderError
from concertina.types.network import UNFIT

MAX_DEPTH = 32
"""Deepest nesting of arrays and objects that is read."""
MAX_INTEGER = 2**53
"""Largest absolute value of an integer: every JSON reader holds it exactly."""
MAX_NAME = 500
"""Longest name, in characters."""
MAX_TEXT = 100_000
"""Longest free text (a licence), in characters."""

_STRING = re.compile(r'"(?>[^"\\]+|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def brief(value: object) -> str:
    """Return `value` as a short text that can be printed anywhere."""
    return _REPR.repr(value)


def refuse(where: str, value: object, allowed: str) -> NoReturn:
    """Raise `HeaderError` for `value` found at `where`, with the value cut to a readable length."""
    raise HeaderError(where, asked=brief(value), allowed=allowed)


def refuse_words(where: str, words: str, allowed: str) -> NoReturn:
    """Raise `HeaderError` for what stands at `where`, described in words."""
    raise HeaderError(where, asked=words, allowed=allowed)


def parse(text: str, where: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: The JSON text.
        where: What the text is, for messages.

    Raises:
        HeaderError: Not JSON, doubled keys, NaN or infinity, nesting over `MAX_DEPTH`, absurd numbers.
    """
    _check_depth(text, where)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return a table of which every key stands once."""
        table = dict(items)
        if len(table) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            refuse(where, twice, "every key once")
        return table

    def whole(digits: str) -> int:
        """Return an integer of not too many digits."""
        return int(digits) if len(digits) <= 20 else refuse(where, digits, "integers up to 2**53")

    def real(digits: str) -> float:
        """Return a finite number."""
        value = float(digits) if len(digits) <= 64 else math.inf
        return value if math.isfinite(value) else refuse(where, digits, "finite numbers")

    def constant(word: str) -> float:
        """Refuse NaN and infinity."""
        refuse(where, word, "finite numbers")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_int=whole, parse_float=real, parse_constant=constant)
    except ValueError as error:
        raise HeaderError(where, asked=f"no JSON ({error})", allowed="one JSON value") from error
    except (RecursionError, MemoryError) as error:
        raise HeaderError(where, asked=f"JSON too large to read ({type(error).__name__})") from error


def _check_depth(text: str, where: str) -> None:
    """Peel brackets level by level, outside strings, so that depth is known before any recursion."""
    brackets = _STRING.sub("", text).encode("utf-8", "replace").translate(None, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if brackets:
        refuse_words(where, "brackets unbalanced or nested too deeply", f"{MAX_DEPTH} levels")


def integer(value: object, where: str, low: int = 0, high: int = MAX_INTEGER) -> int:
    """Return `value` as an integer from `low` to `high`; raises `HeaderError`."""
    if type(value) is not int or not low <= value <= high:
        refuse(where, value, f"an integer from {low} to {high}")
    return value


def integers(value: object, where: str, low: int = 0, high: int = MAX_INTEGER) -> tuple[int, ...]:
    """Return a list of integers from `low` to `high` as a tuple; raises `HeaderError`."""
    for i, item in enumerate(listing(value, where)):
        if type(item) is not int or not low <= item <= high:
            integer(item, f"{where}[{i}]", low, high)
    return tuple(value)  # type: ignore[arg-type]


def number(value: object, where: str) -> float:
    """Return `value` as a finite float; raises `HeaderError`."""
    if type(value) is int and abs(value) <= MAX_INTEGER:
        return float(value)
    if not isinstance(value, float) or not math.isfinite(value):
        refuse(where, value, "a finite number")
    return float(value)


def name(value: object, where: str) -> str:
    """Return `value` as a name: 1 to `MAX_NAME` printable characters; raises `HeaderError`."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        refuse(where, value, f"1 to {MAX_NAME} printable characters")
    return value


def free_text(value: object, where: str) -> str:
    """Return `value` as a text that may be empty or hold tabs and line breaks; raises `HeaderError`."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or (not value.isprintable() and UNFIT.search(value)):
        refuse(where, value, f"up to {MAX_TEXT} characters without control characters")
    return value


def listing(value: object, where: str, least: int = 0, most: int = MAX_INTEGER) -> list[Any]:
    """Return `value` as a list (or tuple) of `least` to `most` items; raises `HeaderError`."""
    if not isinstance(value, list | tuple):
        refuse(where, value, "a list")
    if not least <= len(value) <= most:
        refuse_words(where, f"{len(value)} items", f"{least} to {most}" if most < MAX_INTEGER else f"{least} or more")
    return value  # type: ignore[return-value]


def table(value: object, where: str, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Return `value` as an object, with exactly the given keys where they are given; raises `HeaderError`."""
    if not isinstance(value, dict) or any(not isinstance(key, str) for key in value):
        refuse(where, value, "an object with text keys")
    if keys is not None and set(value) != set(keys):
        refuse_words(where, f"keys {brief(sorted(value))}", f"the keys {brief(sorted(keys))}")
    return value


def unique(names: Iterable[str], where: str) -> None:
    """Raise `HeaderError` when a name comes twice."""
    seen: set[str] = set()
    for each in names:
        if each in seen:
            refuse(where, each, "each name once")
        seen.add(each)


def plain(value: object, where: str, depth: int = 8) -> None:
    """Raise `HeaderError` unless `value` is plain JSON data, nested no deeper than `depth`."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        free_text(value, where)
    elif isinstance(value, int):
        integer(value, where, -MAX_INTEGER)
    elif isinstance(value, float):
        number(value, where)
    elif isinstance(value, list | tuple) and depth:
        for i, item in enumerate(value):
            plain(item, f"{where}[{i}]", depth - 1)
    elif isinstance(value, dict) and depth:
        for key, item in table(value, where).items():
            plain(item, f"{where}[{brief(free_text(key, where))}]", depth - 1)
    else:
        refuse(where, value, "text, numbers, true, false, null, lists and objects")
