"""Tokenizers: what turns texts into token ids and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concertina.errors import DataError
from concertina.load.sources.base import need

BYTES = "bytes"
"""Name of the tokenizer that is built in."""
BYTE_IDS = 256
"""How many token ids it has; a language network with so many outputs is taken to read bytes."""


class Tokenizer(ABC):
    """Turns texts into token ids and back."""

    @abstractmethod
    def sentences(self, texts: Sequence[str], most: int) -> list[Tensor]:
        """Return the ids (tokens,) int64 of each text by itself, cut after `most`, with the tokenizer's own marks."""

    @abstractmethod
    def words(self, texts: Sequence[Sequence[str]], most: int) -> list[tuple[Tensor, list[int | None]]]:
        """Return for each text of words: ids (tokens,) int64, cut after `most`, and the number of each token's word.

        The tokenizer's own marks, and what stands between words, are of no word.
        """

    @abstractmethod
    def text(self, text: str) -> Tensor:
        """Return the ids (tokens,) int64 of a running text, without marks of where it begins and ends."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Return the text of token ids (tokens,)."""


class ByteTokenizer(Tokenizer):
    """A token is a byte of the text in UTF-8, its id the byte's value: nothing is unknown, nothing need be kept.

    Id 0, the NUL byte, stands in no text and so can be padding.

    Example:
        >>> ids = ByteTokenizer().text("Łódź")
        >>> ids.tolist(), ByteTokenizer().decode(ids)
        ([197, 129, 195, 179, 100, 197, 186], 'Łódź')
    """

    def sentences(self, texts: Sequence[str], most: int) -> list[Tensor]:
        """Return the bytes (tokens,) int64 of each text, cut after `most`."""
        return [self.text(text)[:most] for text in texts]

    def words(self, texts: Sequence[Sequence[str]], most: int) -> list[tuple[Tensor, list[int | None]]]:
        """Return the bytes of each text, its words joined by spaces, and the number of each byte's word.

        Example:
            >>> ids, places = ByteTokenizer().words([["a", "bc"]], 8)[0]
            >>> ids.tolist(), places
            ([97, 32, 98, 99], [0, None, 1, 1])
        """
        found = []
        for text in texts:
            places: list[int | None] = []
            for number, word in enumerate(text):
                places += [*([None] if number else []), *[number] * len(self.text(word))]
            found.append((self.text(" ".join(text))[:most], places[:most]))
        return found

    def text(self, text: str) -> Tensor:
        """Return the bytes (tokens,) int64 of a text."""
        return torch.tensor(list(text.encode("utf-8", errors="replace")), dtype=torch.int64)

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Return the text of bytes (tokens,); what is no sound UTF-8, such as half a letter, is shown as U+FFFD.

        Raises:
            DataError: An id is no byte.
        """
        listed = [int(i) for i in ids]
        strange = [i for i in listed if not 0 <= i < BYTE_IDS]
        if strange:
            raise DataError("token ids of bytes", asked=str(strange[0]), allowed=f"0 to {BYTE_IDS - 1}")
        return bytes(listed).decode("utf-8", errors="replace")


class FileTokenizer(Tokenizer):
    """The tokenizer that a `tokenizer.json` describes.

    Args:
        path: The file.

    Raises:
        DataError: There is no such file, it is not sound, or the package `tokenizers` is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        tokenizers = need("tokenizers", "tokenizers", "text")
        if not Path(path).is_file():
            allowed = f"a tokenizer.json, or {BYTES!r}"
            raise DataError(f"tokenizer {str(path)!r}", asked="no such file", allowed=allowed)
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise DataError(f"tokenizer {str(path)!r} is not sound", asked=str(error)) from error
        self._tokenizer.no_padding()

    def sentences(self, texts: Sequence[str], most: int) -> list[Tensor]:
        """Return the ids (tokens,) int64 of each text by itself, cut after `most`, with the tokenizer's own marks."""
        self._tokenizer.enable_truncation(most)
        return [torch.tensor(found.ids, dtype=torch.int64) for found in self._tokenizer.encode_batch(list(texts))]

    def words(self, texts: Sequence[Sequence[str]], most: int) -> list[tuple[Tensor, list[int | None]]]:
        """Return for each text of words: ids (tokens,) int64, cut after `most`, and the number of each token's word."""
        self._tokenizer.enable_truncation(most)
        coded = self._tokenizer.encode_batch([list(text) for text in texts], is_pretokenized=True)
        return [(torch.tensor(found.ids, dtype=torch.int64), list(found.word_ids)) for found in coded]

    def text(self, text: str) -> Tensor:
        """Return the ids (tokens,) int64 of a running text, without marks of where it begins and ends."""
        self._tokenizer.no_truncation()
        return torch.tensor(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=torch.int64)

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Return the text of token ids (tokens,)."""
        return str(self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False))


def open_tokenizer(source: str | Path = BYTES) -> Tokenizer:
    """Return a tokenizer.

    Args:
        source: "bytes", or the `tokenizer.json` that belongs to a network.

    Raises:
        DataError: There is no such file, it is not sound, or the package `tokenizers` is not installed.
    """
    return ByteTokenizer() if str(source) == BYTES else FileTokenizer(source)
