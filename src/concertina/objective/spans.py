"""Spans of tokens, such as names in a text, as tags in the BIO scheme tell them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Span = tuple[int, int, str]
"""Number of the first token, number behind the last one, and the kind of what they name."""
OUTSIDE = "O"


def is_bio(names: Iterable[str]) -> bool:
    """Return whether tags are those of the BIO scheme: "O", and kinds behind "B-" or "I-".

    Example:
        >>> is_bio(["O", "B-person", "I-person"]), is_bio(["noun", "verb"])
        (True, False)
    """
    listed = list(names)
    kinds = [name for name in listed if name != OUTSIDE]
    return OUTSIDE in listed and bool(kinds) and all(name[:2] in ("B-", "I-") and name[2:] for name in kinds)


def spans_of(tags: Sequence[str]) -> set[Span]:
    """Return the spans of one text's tags; an "I-" that goes on with nothing begins a span, as the CoNLL scorer has it.

    Source: Tjong Kim Sang & De Meulder 2003, Introduction to the CoNLL-2003 shared task (arXiv cs/0306050).

    Example:
        >>> sorted(spans_of(["B-place", "I-place", "O", "I-person", "B-person"]))
        [(0, 2, 'place'), (3, 4, 'person'), (4, 5, 'person')]
    """
    found: set[Span] = set()
    start, open_kind = 0, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        kind = "" if tag == OUTSIDE else tag[2:]
        if kind and kind == open_kind and tag.startswith("I-"):
            continue
        if open_kind:
            found.add((start, place, open_kind))
        start, open_kind = place, kind
    return found
