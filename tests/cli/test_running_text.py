"""The verbs on a language network and plain text: perplexity, and nothing that speaks of accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from concertina.cli import main

Capsys = pytest.CaptureFixture[str]
NETWORK = "zoo:tiny-decoder@context=12,width=16,depth=2,heads=2,inner=16"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two texts and a family fitted on one of them."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "train.txt").write_text("one two three four five six seven eight\n" * 40, encoding="utf-8")
    (folder / "held.txt").write_text("two three four one two seven eight\n" * 20, encoding="utf-8")
    assert main([*fit(folder, "train.txt"), "--validation", str(folder / "held.txt")]) == 0
    return folder


def fit(folder: Path, data: str, output: str = "l.concertina") -> list[str]:
    words = ["fit", NETWORK, "--weights", "random", "--data", str(folder / data), "--points", "0.3,1", "--quiet"]
    return [*words, "--epochs", "1", "--batch-size", "16", "--optimizer", "adamw", "-o", str(folder / output)]


def test_points_are_measured_by_perplexity(folder: Path, capsys: Capsys) -> None:
    words = ["measure", str(folder / "l.concertina"), "--data", str(folder / "held.txt")]
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    found = {(row["point"], row["metric"]): row for row in rows}
    for point in ("p30", "p100"):
        assert found[point, "perplexity"]["value"] == pytest.approx(2 ** found[point, "bits_per_byte"]["value"])
        assert found[point, "perplexity"]["n"] == 64
    assert main([*words, "--max-tokens", "64", "--tokenizer", "bytes", "--points", "p30"]) == 0
    table = capsys.readouterr().out
    assert "perplexity" in table
    assert "accuracy" not in table


def test_the_report_says_that_less_is_better(folder: Path, capsys: Capsys) -> None:
    page = folder / "page.html"
    assert main(["report", str(folder / "l.concertina"), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Perplexity against cost" in text
    assert "Down and to the left is better" in text
    assert "accuracy" not in text.lower()


def test_a_point_is_extracted(folder: Path, capsys: Capsys) -> None:
    words = ["extract", str(folder / "l.concertina"), "--point", "p30", "-o", str(folder / "out"), "--json"]
    assert main(words) == 0
    assert json.loads((folder / "out" / "slim.json").read_text(encoding="utf-8"))["task"] == "language"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "got 0 tokens"),
        (b"a", "got 1 tokens"),
        (b"two words", "got 1 samples; allowed: 2 or more"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "no sound text file"),
        (b"caf\xe9" * 50, "allowed: text in UTF-8"),
    ],
)
def test_files_without_enough_text_are_refused(folder: Path, capsys: Capsys, content: bytes, says: str) -> None:
    (folder / "bad.txt").write_bytes(content)
    assert main(fit(folder, "bad.txt", "bad.concertina")) in (1, 2)
    text = capsys.readouterr().err
    assert says in text
    assert text.count("error: ") == 1
    assert not (folder / "bad.concertina").exists()


def test_plain_text_for_a_network_of_images_is_refused_with_a_hint(folder: Path, capsys: Capsys) -> None:
    assert main(["fit", "zoo:mlp", "--data", str(folder / "held.txt"), "-o", str(folder / "x.concertina"), "-q"]) == 2
    assert "Plain text is for networks that read token ids" in capsys.readouterr().err


def test_token_ids_that_are_no_bytes_need_a_tokenizer(folder: Path, capsys: Capsys) -> None:
    words = fit(folder, "held.txt", "x.concertina")
    words[1] = NETWORK.replace("context=12", "context=12,vocabulary=40")
    assert main(words) == 2
    assert "Give --tokenizer FILE" in capsys.readouterr().err
