"""Texts with a class each, as classifiers take them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import concertina as ct
from concertina.errors import DataError
from concertina.load import TensorData

tokenizers = pytest.importorskip("tokenizers")
NAMES = ("bad", "good")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    words = {word: i for i, word in enumerate(("[PAD]", "a", "b", "c"))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "a"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def opened(text: str, tokenizer: Path, **more: object) -> TensorData:
    path = tokenizer.with_name("texts.csv")
    path.write_text(text, encoding="utf-8")
    return ct.open_labelled_texts(path, tokenizer, **more)  # type: ignore[arg-type]


def test_texts_become_ids_and_classes(tokenizer: Path) -> None:
    data = opened("text,label\na b c,good\nb,bad\n", tokenizer, class_names=NAMES, max_tokens=2)
    ids, labels = data.tensors
    assert ids.tolist() == [[1, 2], [2, 0]]
    assert labels.tolist() == [1, 0]
    assert labels.dtype == torch.int64
    assert (data.class_names, data.source) == (NAMES, "texts.csv")


def test_numbers_are_class_numbers_unless_classes_are_called_so(tokenizer: Path) -> None:
    assert opened("sentence,label\na,1\nb,0\n", tokenizer, class_names=NAMES).tensors[1].tolist() == [1, 0]
    assert opened("sentence,label\na,1\nb,0\n", tokenizer, class_names=("1", "0")).tensors[1].tolist() == [0, 1]
    assert opened("sentence,label\na,10\nb,9\n", tokenizer).tensors[1].tolist() == [10, 9]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("text,label\na,ugly\nb,bad\n", "got ugly"),
        ("text,label\na,2\nb,0\n", "allowed: 0 to 1"),
        ("text,label\na,-1\nb,0\n", "labels of"),
        ("words,label\na,1\nb,0\n", "no column of texts"),
        ("text,kind\na,1\nb,0\n", "no label column"),
        ("text,label\n", "no samples"),
    ],
)
def test_what_is_no_labelled_text_is_told(text: str, says: str, tokenizer: Path) -> None:
    with pytest.raises(DataError, match=says):
        opened(text, tokenizer, class_names=NAMES)


def test_a_plain_text_holds_no_classes(tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a b c\n")
    for path in (tmp_path / "t.txt", tmp_path):
        with pytest.raises(DataError, match=r"texts with classes in .*allowed: \.parquet or \.csv"):
            ct.open_labelled_texts(path, tokenizer)


def test_a_tokenizer_that_is_none_is_told(tokenizer: Path) -> None:
    tokenizer.write_text("{}")
    with pytest.raises(DataError, match="is not sound"):
        opened("text,label\na,1\nb,0\n", tokenizer)
    tokenizer.unlink()
    with pytest.raises(DataError, match="no such file"):
        opened("text,label\na,1\nb,0\n", tokenizer)
