"""How a pair of classes is written in the scope of a Record."""

from __future__ import annotations


def pair(own: str, other: str) -> str:
    """Return the scope of a figure about samples of one class that were taken for another.

    Args:
        own: The class they are of.
        other: The class they were taken for.

    Example:
        >>> pair("cat", "dog")
        'cat taken for dog'
    """
    return f"{own} taken for {other}"
