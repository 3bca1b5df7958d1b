"""Texts with a class each, from tables, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concertina.errors import DataError, some
from concertina.load.data import TensorData, source_label
from concertina.load.sources import selected
from concertina.load.sources.base import LABEL_NAMES, numbered_labels, pick
from concertina.load.sources.table import columns_of
from concertina.load.text import SENTENCE_NAMES
from concertina.load.tokens import open_tokenizer

KINDS = (".parquet", ".csv")
"""Files that hold texts with classes."""


def open_labelled_texts(
    text: str | Path, tokenizer: str | Path, *, max_tokens: int = 64, class_names: Sequence[str] = ()
) -> TensorData:
    """Return texts of a table as (ids (n, tokens), labels (n,)), both int64; ids are padded with zeros.

    Args:
        text: "file.parquet" or "file.csv" with a column of texts and one of labels; with a selection after an at
            sign: "file.parquet@split=train".
        tokenizer: The `tokenizer.json` that belongs to the network, or "bytes".
        max_tokens: Longest text; longer ones are cut.
        class_names: Class names of the network, which fix the numbers of labels that are texts.

    Raises:
        DataError: A file is missing, damaged or of another kind; a column or the selection does not exist; a label is
            no class; the package `tokenizers` is not installed.
    """
    path, selection = selected(str(text))
    if Path(path).suffix.lower() not in KINDS:
        asked = Path(path).suffix or "a folder, or no suffix"
        raise DataError(f"texts with classes in {path!r}", asked=asked, allowed=" or ".join(KINDS))
    columns = columns_of(path, selection)
    name = pick(list(columns), SENTENCE_NAMES, "column of texts", path)
    ids = _token_ids(columns[name], tokenizer, max_tokens, f"column {name!r} of {path}")
    cells = columns[pick(list(columns), LABEL_NAMES, "label column", path)]
    labels, names = _labels(cells, tuple(class_names), path)
    data = TensorData([ids, labels], names)
    data.source = source_label(str(text))
    return data


def _labels(cells: Sequence[Any], known: tuple[str, ...], path: str) -> tuple[Tensor, tuple[str, ...]]:
    """Return class numbers (n,) and class names; digits in a csv file are numbers, unless classes are called so."""
    if not set(map(str, cells)) <= set(known) and all(isinstance(c, str) and c.strip().isdecimal() for c in cells):
        cells = [int(cell) for cell in cells]
    numbers, names = numbered_labels(np.asarray(cells), known, path)
    if numbers.dtype.kind == "f" and not bool(np.all(numbers == np.floor(numbers))):
        raise DataError(f"labels of {path}", asked="fractions", allowed="class numbers or class names")
    labels = torch.from_numpy(numbers.astype(np.int64))
    names = names or known
    if int(labels.min()) < 0 or (names and int(labels.max()) >= len(names)):
        asked = f"{int(labels.min())} to {int(labels.max())}"
        raise DataError(f"labels of {path}", asked=asked, allowed=f"0 to {len(names) - 1}" if names else "0 or more")
    return labels, names


def _token_ids(texts: Sequence[Any], tokenizer: str | Path, max_tokens: int, what: str) -> Tensor:
    """Return ids (n, tokens), padded with zeros up to the longest."""
    strange = [repr(text)[:40] for text in texts if not isinstance(text, str)]
    if strange:
        raise DataError(what, asked=some(strange, 3), allowed="texts")
    rows = open_tokenizer(tokenizer).sentences(list(texts), max_tokens)
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
