"""Sentences from files as token ids: pairs with a score, or sentences alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concertina.errors import DataError, some
from concertina.load.data import TensorData, source_label
from concertina.load.sources import selected
from concertina.load.sources.base import LABEL_NAMES, need, pick
from concertina.load.sources.table import columns_of

SCORE_NAMES = ("score", "similarity", *LABEL_NAMES)
SENTENCE_NAMES = ("text", "sentence")
PAIR_NAMES = (("sentence1", "sentence2"), ("text1", "text2"), ("a", "b"))
MIN_CHARACTERS = 3
"""Shorter lines of plain text (blank ones, single marks) are no sentences."""


def open_texts(text: str | Path, tokenizer: str | Path, *, max_tokens: int = 64) -> TensorData:
    """Return sentences of a file as token ids (n, tokens) int64, padded with zeros, as a similarity task takes them.

    A table with two sentences and a score a row gives (ids, ids, score); any other table with a text column, and plain
    text with a sentence a line, gives pairs (ids, ids) of one sentence and the next, for training without labels.

    Args:
        text: "file.parquet", "file.csv" or "file.txt"; with a selection after an at sign: "file.parquet@split=train".
        tokenizer: The `tokenizer.json` that belongs to the network; its padding token must have the id 0.
        max_tokens: Longest sentence; longer ones are cut.

    Raises:
        DataError: A file is missing, damaged or of another kind; a column or the selection does not exist; scores are
            no finite numbers; the package `tokenizers` is not installed.
    """
    path, selection = selected(str(text))
    if Path(path).suffix == ".txt":
        columns: dict[str, list[Any]] = {"text": _lines(path, selection)}
    else:
        columns = columns_of(path, selection)
    encode = _Encoder(tokenizer, max_tokens)
    pair = next((names for names in PAIR_NAMES if set(names) <= set(columns)), None)
    if pair is not None:
        score = columns[pick(list(columns), SCORE_NAMES, "score column", path)]
        fields = [*(encode(columns[name], f"column {name!r} of {path}") for name in pair), _scores(score, path)]
    else:
        name = pick(list(columns), SENTENCE_NAMES, "column of sentences", path)
        ids = encode(columns[name], f"column {name!r} of {path}")
        fields = [ids[0 : len(ids) - 1 : 2], ids[1::2]]
    data = TensorData(fields)
    data.source = source_label(str(text))
    return data


def _lines(path: str, selection: object) -> list[str]:
    if selection:
        raise DataError(f"selection in plain text {path!r}", allowed="none")
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path!r} is no sound text file", asked=str(error)) from error
    return [line.strip() for line in lines if len(line.strip()) >= MIN_CHARACTERS]


def _scores(values: Sequence[Any], path: str) -> Tensor:
    try:
        scores = torch.tensor([float(value) for value in values], dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"scores of {path}", asked=str(error), allowed="numbers") from error
    if not bool(torch.isfinite(scores).all()):
        raise DataError(f"scores of {path}", asked="NaN or infinite values", allowed="finite numbers")
    return scores


class _Encoder:
    """Texts to token ids, by the tokenizer of a network."""

    def __init__(self, path: str | Path, max_tokens: int) -> None:
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 2:
            raise DataError("max_tokens", asked=repr(max_tokens), allowed="whole numbers of 2 or more")
        tokenizers = need("tokenizers", "tokenizers", "text")
        if not Path(path).is_file():
            raise DataError(f"tokenizer {str(path)!r}", asked="no such file", allowed="a tokenizer.json")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise DataError(f"tokenizer {str(path)!r} is not sound", asked=str(error)) from error
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()

    def __call__(self, texts: Iterable[Any], what: str) -> Tensor:
        """Return ids (n, tokens), padded with zeros up to the longest."""
        listed = list(texts)
        strange = [repr(text)[:40] for text in listed if not isinstance(text, str)]
        if strange:
            raise DataError(what, asked=some(strange, 3), allowed="texts")
        if len(listed) < 2:
            raise DataError(what, asked=f"{len(listed)} texts", allowed="2 or more")
        rows = [torch.tensor(found.ids, dtype=torch.int64) for found in self._tokenizer.encode_batch(listed)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
