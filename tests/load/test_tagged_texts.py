"""Texts with a tag for each word, as networks for tokens take them."""

from __future__ import annotations

from pathlib import Path

import pytest

import concertina as ct
from concertina.errors import DataError
from concertina.load import TensorData

tokenizers = pytest.importorskip("tokenizers")
NAMES = ("O", "B-x", "I-x")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """Return a tokenizer with a mark in front, that cuts "abc" into pieces."""
    words = {word: i for i, word in enumerate(("[PAD]", "[CLS]", "[UNK]", "a", "b", "##c"))}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def opened(text: str, tokenizer: Path | str, folder: Path, **more: object) -> TensorData:
    path = folder / "texts.csv"
    path.write_text(text, encoding="utf-8")
    return ct.open_tagged_texts(path, tokenizer, **more)  # type: ignore[arg-type]


def test_the_first_piece_of_a_word_has_its_tag(tokenizer: Path, tmp_path: Path) -> None:
    data = opened("words,tags\nbc a,B-x O\na,O\n", tokenizer, tmp_path, class_names=NAMES)
    assert data.tensors[0].tolist() == [[1, 4, 5, 3], [1, 3, 0, 0]]
    assert data.tensors[1].tolist() == [[-100, 1, -100, 0], [-100, 0, -100, -100]]
    assert data.class_names == NAMES
    assert data.source == "texts.csv"


def test_words_beyond_the_longest_text_are_cut_off_with_their_tags(tokenizer: Path, tmp_path: Path) -> None:
    data = opened("tokens,tags\na b bc a,O O B-x I-x\nb,O\n", tokenizer, tmp_path, max_tokens=4)
    assert data.tensors[1].tolist() == [[-100, 2, 2, 0], [-100, 2, -100, -100]]
    assert data.class_names == ("B-x", "I-x", "O")


def test_bytes_are_tagged_where_words_begin(tmp_path: Path) -> None:
    ids, tags = opened("words,tags\nab c,1 0\n", "bytes", tmp_path, class_names=NAMES).tensors
    assert bytes(ids[0].tolist()) == b"ab c"
    assert tags.tolist() == [[1, -100, -100, 0]]


def test_lists_and_numbers_in_parquet_are_taken(tokenizer: Path, tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"tokens": [["a", "b"], ["bc"]], "ner_tags": [[0, 2], [1]]})
    parquet.write_table(table, tmp_path / "texts.parquet")
    data = ct.open_tagged_texts(tmp_path / "texts.parquet", tokenizer)
    assert data.tensors[1].tolist() == [[-100, 0, 2], [-100, 1, -100]]
    assert data.class_names == ("0", "1", "2")
    named = ct.open_tagged_texts(tmp_path / "texts.parquet", tokenizer, class_names=NAMES)
    assert named.class_names == NAMES
    assert named.tensors[1].equal(data.tensors[1])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("words,tags\na b,O\n", "2 words and 1 tags in row 1"),
        ("words,tags\na,B-y\n", "got B-y"),
        ("words,tags\na,7\n", "allowed: 0 to 2"),
        ("text,tags\na,O\n", "no column of words"),
        ("words,kind\na,O\n", "no column of tags"),
        ("words,tags\n,\n", "a list of texts"),
    ],
)
def test_what_is_no_tagged_text_is_told(text: str, says: str, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        opened(text, tokenizer, tmp_path, class_names=NAMES)
