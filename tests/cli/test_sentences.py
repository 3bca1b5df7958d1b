"""The verbs on a network that reads sentences: a tokenizer, sizes of embeddings, points with fewer outputs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from concertina.cli import main

tokenizers = pytest.importorskip("tokenizers")
Capsys = pytest.CaptureFixture[str]
NETWORK = "zoo:sentence-encoder@vocabulary=12,positions=8,width=16,layers=4,heads=2,inner=32,outputs=16"
WORDS = ("a", "red", "blue", "dog", "cat", "runs", "sleeps", "bird")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tokenizer, pairs of sentences and a family fitted on them."""
    folder = tmp_path_factory.mktemp("sentences")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(("[PAD]", *WORDS))}, "a"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    said = list(itertools.permutations(WORDS, 3))[:80]
    rows = [f"{' '.join(a)},{' '.join(b)},{len(set(a) & set(b))}" for a, b in itertools.pairwise(said)]
    (folder / "pairs.csv").write_text("\n".join(["sentence1,sentence2,score", *rows]), encoding="utf-8")
    assert main([*fit(folder), "--outputs", "4,8", "-o", str(folder / "s.concertina")]) == 0
    return folder


def fit(folder: Path) -> list[str]:
    words = ["fit", NETWORK, "--weights", "random", "--data", str(folder / "pairs.csv"), "--points", "0.5,1"]
    words += ["--validation", str(folder / "pairs.csv"), "--tokenizer", str(folder / "tokenizer.json")]
    return [*words, "--epochs", "1", "--batch-size", "16", "--learning-rate", "0.001", "--quiet"]


def test_every_size_of_every_point_is_measured(folder: Path, capsys: Capsys) -> None:
    words = ["measure", str(folder / "s.concertina"), "--data", str(folder / "pairs.csv")]
    assert main([*words, "--tokenizer", str(folder / "tokenizer.json"), "--json"]) == 0
    found = [row for row in json.loads(capsys.readouterr().out) if row["metric"] == "spearman"]
    scopes = {(row["point"], row["scope"]) for row in found}
    assert scopes == {(point, scope) for point in ("p50", "p100") for scope in ("", "outputs=8", "outputs=4")}


def test_a_point_is_extracted_with_fewer_outputs(folder: Path, tmp_path: Path, capsys: Capsys) -> None:
    words = ["extract", str(folder / "s.concertina"), "--point", "p50:8", "-o", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    assert json.loads((tmp_path / "out" / "slim.json").read_text(encoding="utf-8"))["point"] == "p50:8"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--tokenizer": "none.json"}, "--tokenizer"),
        ({"--tokenizer": None}, "Give --tokenizer FILE"),
        ({"--outputs": "16"}, "outputs"),
        ({"--outputs": "8,x"}, "--outputs: got '8,x'"),
        ({"--max-tokens": "1"}, "max-tokens"),
    ],
)
def test_what_cannot_be_is_refused(
    folder: Path, tmp_path: Path, capsys: Capsys, change: dict[str, str | None], says: str
) -> None:
    words = fit(folder)
    for option, value in change.items():
        if option in words:
            place = words.index(option)
            del words[place : place + 2]
        words += [] if value is None else [option, value]
    capsys.readouterr()
    assert main([*words, "-o", str(tmp_path / "out.concertina")]) == 2
    text = capsys.readouterr().err
    assert says in text
    assert text.count("error: ") == 1
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_for_images_and_outputs_of_classes_are_refused(
    folder: Path, tmp_path: Path, capsys: Capsys
) -> None:
    words = ["fit", "zoo:mlp", "--data", "zoo:digits@train", "-o", str(tmp_path / "out"), "--epochs", "0", "--quiet"]
    for more, says in (
        (["--tokenizer", str(folder / "tokenizer.json")], "token ids"),
        (["--outputs", "4"], "similarity"),
    ):
        assert main([*words, *more]) == 2
        assert says in capsys.readouterr().err
    sizes = ["extract", str(folder / "s.concertina"), "-o", str(tmp_path / "out"), "--point", "p50:5"]
    assert main(sizes) == 2
    assert "4, 8, 16" in capsys.readouterr().err
