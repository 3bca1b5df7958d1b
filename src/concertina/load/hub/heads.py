"""Which classes of transformers have a rule: what they read, what is taken of their output, and for which task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from concertina.errors import LoadError
from concertina.load.hub.base import BY_HAND

Reads = Literal["images", "masked ids", "ids"]
"""Pixels; token ids with a mask made of their padding; token ids alone."""


@dataclass(frozen=True)
class Head:
    """One kind of networks: all classes of one of the library's own tables."""

    kind: str
    """What such networks are, in the singular."""
    tables: tuple[str, ...]
    """The tables of the library that list the classes, by model type."""
    reads: Reads
    output: str
    """Field of the output that matters."""
    task: str
    named: bool = False
    """Whether the outputs are classes with names."""


IMAGES = Head(
    "image classifier", ("MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",), "images", "logits", "classification", True
)
TEXTS = Head(
    "text classifier",
    ("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",),
    "masked ids",
    "logits",
    "classification",
    True,
)
TOKENS = Head(
    "token classifier", ("MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",), "masked ids", "logits", "tagging", True
)
MASKED = Head(
    "masked language model", ("MODEL_FOR_MASKED_LM_MAPPING_NAMES",), "masked ids", "logits", "masked-language"
)
CAUSAL = Head("causal language model", ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",), "ids", "logits", "language")
ENCODERS = Head("sentence encoder", ("MODEL_MAPPING_NAMES",), "masked ids", "last_hidden_state", "similarity")
HEADS = (IMAGES, TEXTS, TOKENS, MASKED, CAUSAL, ENCODERS)
"""A class belongs to the first head that lists it."""


@dataclass(frozen=True)
class Known:
    """One class that has a rule."""

    head: Head
    model_type: str
    """What its configuration calls itself."""


def known_classes(tables: Any) -> dict[str, Known]:
    """Return class name -> what is known of it: the library's own tables, and nothing that a file could add.

    Args:
        tables: The library's module of tables.
    """
    encoders = set(dict(tables.MODEL_FOR_MASKED_LM_MAPPING_NAMES))
    found: dict[str, Known] = {}
    for head in HEADS:
        for model_type, name in _rows(tables, head):
            if model_type.startswith("timm") or (head is ENCODERS and model_type not in encoders):
                continue
            found.setdefault(name, Known(head, model_type))
    return found


def find(name: object, tables: Any, *, has_code: bool = False) -> Known:
    """Return the rule of a class.

    Args:
        name: The class.
        tables: The library's module of tables.
        has_code: Whether the folder holds code of its own, for the message.

    Raises:
        LoadError: There is none; the text tells what has one, and what to do.
    """
    known = known_classes(tables)
    if not isinstance(name, str) or name not in known:
        allowed = ", ".join(f"{head.kind}s" for head in HEADS) + " of transformers"
        code = "code in the folder, which is never run" if has_code else ""
        raise LoadError(f"no rule for the class {str(name)[:100]!r}", asked=code, allowed=allowed, do=BY_HAND)
    return known[name]


def _rows(tables: Any, head: Head) -> Iterator[tuple[str, str]]:
    for table in head.tables:
        listed: Mapping[str, str | tuple[str, ...]] = getattr(tables, table)
        for model_type, names in listed.items():
            yield from ((model_type, name) for name in ((names,) if isinstance(names, str) else names))
