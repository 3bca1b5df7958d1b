"""Texts from files as token ids: pairs of sentences with a score, sentences alone, or windows of running text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from concertina.errors import DataError, some
from concertina.load.data import TensorData, source_label
from concertina.load.sources import selected
from concertina.load.sources.base import LABEL_NAMES, pick
from concertina.load.sources.table import columns_of
from concertina.load.tokens import BYTES, Tokenizer, open_tokenizer

TextTask = Literal["similarity", "language"]
"""What texts are opened for: pairs of sentences, or windows of running text."""
SCORE_NAMES = ("score", "similarity", *LABEL_NAMES)
SENTENCE_NAMES = ("text", "sentence")
PAIR_NAMES = (("sentence1", "sentence2"), ("text1", "text2"), ("a", "b"))
MIN_CHARACTERS = 3
"""Shorter lines of plain text (blank ones, single marks) are no sentences."""
MOST_TOKENS = {"similarity": 64, "language": 128}
"""Tokens of a sentence or a window where nobody says another number."""
PADDING = -1
"""What fills the last window; no tokenizer has such an id, so every token of a text is judged."""


def open_texts(
    text: str | Path, tokenizer: str | Path = BYTES, *, max_tokens: int | None = None, task: str = "similarity"
) -> TensorData:
    """Return texts of a file as token ids, as the task takes them.

    For "similarity", sentences (n, tokens) int64, padded with zeros: a table with two sentences and a score a row gives
    (ids, ids, score); any other table with a text column, and plain text with a sentence a line, gives pairs (ids, ids)
    of one sentence and the next, for training without labels.

    For "language", windows (n, max_tokens) int64 of plain text, or of the texts of a table joined by line ends. Each
    begins with the last token of the one before, so that all tokens but the first of the file are foretold once; the
    last one is filled up with -1.

    Args:
        text: "file.parquet", "file.csv" or "file.txt"; with a selection after an at sign: "file.parquet@split=train".
        tokenizer: "bytes", or the `tokenizer.json` that belongs to the network; for sentences, its padding token must
            have the id 0.
        max_tokens: Tokens of the longest sentence, longer ones are cut (64 unless said); or of a window (128).
        task: "similarity" or "language", as `Core.task` says.

    Raises:
        DataError: A file is missing, damaged, empty or of another kind; a column or the selection does not exist;
            scores are no finite numbers; the package `tokenizers` is needed and not installed; no such task.
    """
    if task not in get_args(TextTask):
        raise DataError("texts for a task", asked=repr(task), allowed=", ".join(get_args(TextTask)))
    most = MOST_TOKENS[task] if max_tokens is None else max_tokens
    if isinstance(most, bool) or not isinstance(most, int) or most < 2:
        raise DataError("max_tokens", asked=repr(max_tokens), allowed="whole numbers of 2 or more")
    path, selection = selected(str(text))
    coder = open_tokenizer(tokenizer)
    fields = (
        [windows(coder.text(_running(path, selection)), most, path)]
        if task == "language"
        else _sentences(path, selection, _Encoder(coder, most))
    )
    data = TensorData(fields)
    data.source = source_label(str(text))
    return data


def windows(ids: Tensor, length: int, what: str) -> Tensor:
    """Return token ids (tokens,) as windows (n, length), each beginning with the last token of the one before.

    Args:
        ids: The ids of a text.
        length: Tokens of a window, 2 or more; the last one is filled up with -1.
        what: What the text is, for the message.

    Raises:
        DataError: The text has fewer than two tokens: there is nothing to foretell.

    Example:
        >>> windows(torch.tensor([5, 6, 7, 8]), 3, "a text").tolist()
        [[5, 6, 7], [7, 8, -1]]
    """
    if len(ids) < 2:
        raise DataError(f"text of {what!r}", asked=f"{len(ids)} tokens", allowed="2 or more")
    count = -(-(len(ids) - 1) // (length - 1))
    padded = torch.nn.functional.pad(ids, (0, count * (length - 1) + 1 - len(ids)), value=PADDING)
    return padded.unfold(0, length, length - 1).contiguous()


def _running(path: str, selection: dict[str, str]) -> str:
    """Return the text of a plain file, or the texts of a table joined by line ends."""
    if Path(path).suffix.lower() == ".txt":
        return _read(path, selection)
    columns = columns_of(path, selection)
    name = pick(list(columns), SENTENCE_NAMES, "column of texts", path)
    return "\n".join(_texts(columns[name], f"column {name!r} of {path}"))


def _sentences(path: str, selection: dict[str, str], encode: _Encoder) -> list[Tensor]:
    """Return the fields of pairs of sentences."""
    if Path(path).suffix.lower() == ".txt":
        columns: dict[str, list[Any]] = {"text": _lines(_read(path, selection))}
    else:
        columns = columns_of(path, selection)
    pair = next((names for names in PAIR_NAMES if set(names) <= set(columns)), None)
    if pair is not None:
        score = columns[pick(list(columns), SCORE_NAMES, "score column", path)]
        return [*(encode(columns[name], f"column {name!r} of {path}") for name in pair), _scores(score, path)]
    name = pick(list(columns), SENTENCE_NAMES, "column of sentences", path)
    ids = encode(columns[name], f"column {name!r} of {path}")
    return [ids[0 : len(ids) - 1 : 2], ids[1::2]]


def _read(path: str, selection: object) -> str:
    """Return a plain text; what holds NUL, as hardly any binary file does not, is none."""
    if selection:
        raise DataError(f"selection in plain text {path!r}", allowed="none")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path!r} is no sound text file", asked=str(error), allowed="text in UTF-8") from error
    if "\0" in text:
        asked = f"a NUL at character {text.index(chr(0)):,}"
        raise DataError(f"{path!r} is no sound text file", asked=asked, allowed="text in UTF-8")
    return text


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if len(line.strip()) >= MIN_CHARACTERS]


def _scores(values: Sequence[Any], path: str) -> Tensor:
    try:
        scores = torch.tensor([float(value) for value in values], dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"scores of {path}", asked=str(error), allowed="numbers") from error
    if not bool(torch.isfinite(scores).all()):
        raise DataError(f"scores of {path}", asked="NaN or infinite values", allowed="finite numbers")
    return scores


def _texts(cells: Iterable[Any], what: str) -> list[str]:
    """Return cells that are all texts."""
    listed = list(cells)
    strange = [repr(text)[:40] for text in listed if not isinstance(text, str)]
    if strange:
        raise DataError(what, asked=some(strange, 3), allowed="texts")
    return listed


class _Encoder:
    """Sentences to token ids, by the tokenizer of a network."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._tokenizer, self._most = tokenizer, max_tokens

    def __call__(self, texts: Iterable[Any], what: str) -> Tensor:
        """Return ids (n, tokens), padded with zeros up to the longest."""
        listed = _texts(texts, what)
        if len(listed) < 2:
            raise DataError(what, asked=f"{len(listed)} texts", allowed="2 or more")
        return torch.nn.utils.rnn.pad_sequence(self._tokenizer.sentences(listed, self._most), batch_first=True)
