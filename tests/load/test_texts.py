"""Sentences from files as token ids."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import concertina as ct
from concertina.errors import DataError

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    words = {"[PAD]": 0, "[UNK]": 1} | {
        word: i for i, word in enumerate(("a", "red", "dog", "cat", "runs", "sleeps"), 2)
    }
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def table(tmp_path: Path, text: str, name: str = "pairs.csv") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


PAIRS = """sentence1,sentence2,score,split
a dog runs,a red dog runs,4.5,train
a cat,a dog sleeps,1,train
bird,cat,0,dev
cat,cat,5,dev
"""


def test_pairs_become_padded_ids_and_scores(tmp_path: Path, tokenizer: Path) -> None:
    data = ct.open_texts(f"{table(tmp_path, PAIRS)}@split=train", tokenizer)
    a, b, scores = data.tensors
    assert a.tolist() == [[2, 4, 6], [2, 5, 0]]
    assert b.tolist() == [[2, 3, 4, 6], [2, 4, 7, 0]]
    assert scores.tolist() == [4.5, 1.0]
    assert data.label == "pairs.csv@split=train, 2 samples"


def test_long_sentences_are_cut_and_unknown_words_have_their_id(tmp_path: Path, tokenizer: Path) -> None:
    a, b, _ = ct.open_texts(table(tmp_path, PAIRS), tokenizer, max_tokens=2).tensors
    assert a.shape[1] == b.shape[1] == 2
    assert a[2].tolist() == [1, 0]


def test_sentences_alone_are_paired_with_the_next(tmp_path: Path, tokenizer: Path) -> None:
    lines = table(tmp_path, "a dog\n\na cat runs\n dog \ncat\na red cat\n", "lines.txt")
    a, b = ct.open_texts(lines, tokenizer).tensors
    assert a.tolist() == [[2, 4, 0], [4, 0, 0]]
    assert b.tolist() == [[2, 5, 6], [5, 0, 0]]
    column = table(tmp_path, "text,kind\na dog,x\na cat,x\n", "column.csv")
    assert [t.tolist() for t in ct.open_texts(column, tokenizer).tensors] == [[[2, 4]], [[2, 5]]]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.csv", None, "no such file"),
        ("kind.md", "a", "kind"),
        ("few.txt", "a dog\n", "2 or more"),
        ("column.csv", "name,kind\na,b\nc,d\n", "column of sentences"),
        ("score.csv", "sentence1,sentence2\na,b\nc,d\n", "score column"),
        ("words.csv", "sentence1,sentence2,score\na,b,good\nc,d,1\n", "scores"),
        ("nan.csv", "sentence1,sentence2,score\na,b,nan\nc,d,1\n", "finite"),
    ],
)
def test_files_that_hold_something_else_are_refused(
    tmp_path: Path, tokenizer: Path, name: str, text: str | None, says: str
) -> None:
    path = tmp_path / name if text is None else table(tmp_path, text, name)
    with pytest.raises(DataError, match=says):
        ct.open_texts(path, tokenizer)


def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    path = table(tmp_path, PAIRS)
    for bad in (tmp_path / "none.json", table(tmp_path, "{", "bad.json")):
        with pytest.raises(DataError, match="tokenizer"):
            ct.open_texts(path, bad)
    with pytest.raises(DataError, match="max_tokens"):
        ct.open_texts(path, tokenizer, max_tokens=1)
    with pytest.raises(DataError, match="selection"):
        ct.open_texts(f"{table(tmp_path, 'a dog' + chr(10), 'l.txt')}@split=train", tokenizer)
    assert torch.is_tensor(ct.open_texts(path, tokenizer).tensors[0])


LANGUAGE = {"task": "language"}


def test_running_text_becomes_windows_that_overlap_by_a_token(tmp_path: Path) -> None:
    path = table(tmp_path, "abcdefgh", "run.txt")
    [ids] = ct.open_texts(path, max_tokens=4, **LANGUAGE).tensors
    assert ids.tolist() == [[97, 98, 99, 100], [100, 101, 102, 103], [103, 104, -1, -1]]
    [exact] = ct.open_texts(path, max_tokens=8, **LANGUAGE).tensors
    assert exact.tolist() == [[*range(97, 105)]]


@pytest.mark.parametrize(("text", "length"), [("ab", 2), ("abc", 2), ("x" * 129, 128), ("Łódź\r\nis a town" * 40, 7)])
def test_every_token_but_the_first_is_foretold_once(tmp_path: Path, text: str, length: int) -> None:
    (tmp_path / "run.txt").write_bytes(text.encode())
    [ids] = ct.open_texts(tmp_path / "run.txt", max_tokens=length, **LANGUAGE).tensors
    joined = torch.cat([ids[0, :1], ids[:, 1:].flatten()])
    assert ct.open_tokenizer().decode(joined[joined >= 0]) == text.replace("\r\n", "\n")
    assert ids.shape[1] == length


def test_texts_of_a_table_are_joined_and_a_tokenizer_of_a_file_is_taken(tmp_path: Path, tokenizer: Path) -> None:
    path = table(tmp_path, "text,kind\na dog,x\na cat,y\nred,x\n", "column.csv")
    [ids] = ct.open_texts(f"{path}@kind=x", tokenizer, max_tokens=3, **LANGUAGE).tensors
    assert ids.tolist() == [[2, 4, 3]]
    assert ct.open_tokenizer(tokenizer).decode([3, 4]) == "red dog"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "got 0 tokens; allowed: 2 or more"),
        (b"a", "got 1 tokens"),
        (b"caf\xe9 au lait", "no sound text file.*allowed: text in UTF-8"),
        (b"abc\0def", "a NUL at character 3"),
    ],
)
def test_files_without_text_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "run.txt").write_bytes(content)
    with pytest.raises(DataError, match=says):
        ct.open_texts(tmp_path / "run.txt", **LANGUAGE)


def test_a_task_without_texts_and_ids_that_are_no_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="texts for a task: got 'classification'; allowed: similarity, language"):
        ct.open_texts(table(tmp_path, "abc", "run.txt"), task="classification")
    with pytest.raises(DataError, match="token ids of bytes: got 300"):
        ct.open_tokenizer().decode([65, 300])


def test_sentences_can_be_read_as_bytes_too(tmp_path: Path) -> None:
    a, b = ct.open_texts(table(tmp_path, "abc\nabcd\n", "lines.txt"), "bytes").tensors
    assert (a.tolist(), b.tolist()) == ([[97, 98, 99, 0]], [[97, 98, 99, 100]])
