"""Texts with a tag for each word, from tables, as token ids and tags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concertina.errors import DataError, some
from concertina.load.data import TensorData, source_label
from concertina.load.sources import selected
from concertina.load.sources.base import pick
from concertina.load.sources.table import columns_of
from concertina.load.tokens import open_tokenizer

WORD_NAMES = ("tokens", "words")
TAG_NAMES = ("tags", "ner_tags", "pos_tags", "labels")
UNJUDGED = -100
"""Tag of padding, of marks, and of all pieces of a word but the first."""


def open_tagged_texts(
    text: str | Path, tokenizer: str | Path, *, max_tokens: int = 64, class_names: Sequence[str] = ()
) -> TensorData:
    """Return texts of a table as (ids (n, tokens), tags (n, tokens)), both int64.

    The first piece of each word has the word's tag, all else -100; ids are padded with zeros. Words beyond the longest
    text are cut off with their tags.

    Args:
        text: "file.parquet" or "file.csv" with a column of words and one of tags, each a list, or a text joined by
            spaces; tags may be numbers; with a selection after an at sign: "file.parquet@split=train".
        tokenizer: The `tokenizer.json` that belongs to the network, or "bytes".
        max_tokens: Longest text in tokens; longer ones are cut.
        class_names: Names of the network's tags, which fix their numbers; sorted ones of the file unless said.

    Raises:
        DataError: A file is missing, damaged or of another kind; a column or the selection does not exist; a text has
            not one tag for each word; a tag is none of the class names; the package `tokenizers` is not installed.
    """
    path, selection = selected(str(text))
    columns = columns_of(path, selection)
    words, tags = (
        [_listed(cell, f"column {name!r} of {path}") for cell in columns[name]]
        for name in (
            pick(list(columns), WORD_NAMES, "column of words", path),
            pick(list(columns), TAG_NAMES, "column of tags", path),
        )
    )
    uneven = [i for i, (ours, theirs) in enumerate(zip(words, tags, strict=True)) if len(ours) != len(theirs)]
    if uneven:
        i = uneven[0]
        asked = f"{len(words[i])} words and {len(tags[i])} tags in row {i + 1}"
        raise DataError(f"tags of {path}", asked=asked, allowed="one for each word")
    number = _numbers({tag for row in tags for tag in row}, tuple(class_names), path)
    coded = open_tokenizer(tokenizer).words(words, max_tokens)
    ids = torch.nn.utils.rnn.pad_sequence([found for found, _ in coded], batch_first=True)
    told = [_tagged(places, row, number) for (_, places), row in zip(coded, tags, strict=True)]
    fields = [ids, torch.nn.utils.rnn.pad_sequence(told, batch_first=True, padding_value=UNJUDGED)]
    data = TensorData(fields, tuple(class_names) or tuple(number))
    data.source = source_label(str(text))
    return data


def _tagged(places: Sequence[int | None], tags: Sequence[str], number: dict[str, int]) -> Tensor:
    """Return the tag of each token (tokens,): that of its word where it is the first piece of one."""
    before: list[int | None] = [None, *places[:-1]]
    return torch.tensor(
        [
            UNJUDGED if place is None or place == last else number[tags[place]]
            for place, last in zip(places, before, strict=True)
        ],
        dtype=torch.int64,
    )


def _numbers(tags: set[str], known: tuple[str, ...], path: str) -> dict[str, int]:
    """Return tag -> its number; what are digits is a number already, unless a tag of the network is called so."""
    if all(tag.isdecimal() for tag in tags) and not tags <= set(known):
        most = max(map(int, tags)) + 1
        if known and most > len(known):
            raise DataError(f"tags of {path}", asked=str(most - 1), allowed=f"0 to {len(known) - 1}")
        return {str(i): i for i in range(most)}
    strange = sorted(tags - set(known)) if known else []
    if strange:
        raise DataError(f"tags of {path}", asked=some(strange), allowed=some(known))
    return {tag: i for i, tag in enumerate(known or sorted(tags))}


def _listed(cell: Any, what: str) -> list[str]:
    """Return the words or tags of one text."""
    found = cell.split() if isinstance(cell, str) else list(cell) if isinstance(cell, list | tuple) else []
    texts = [str(each) if isinstance(each, int) else each for each in found]
    if not texts or not all(isinstance(each, str) and each for each in texts):
        raise DataError(what, asked=repr(cell)[:40], allowed="a list of texts, or one text with spaces between words")
    return texts
