"""What is typed wrong, at every verb: one clear message, the right exit code, and nothing written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tests.cli.conftest import Files

from concertina.cli import VERBS, main

Capsys = pytest.CaptureFixture[str]
READERS = {
    "inspect": [],
    "measure": ["--data", "zoo:digits@test"],
    "extract": ["--share", "1", "-o", "out"],
    "export": ["--to", "onnx", "--share", "1", "-o", "out.onnx"],
    "report": ["-o", "out.html"],
    "audit": ["--data", "zoo:digits@test"],
    "specialize": ["--classes", "3,5", "-o", "out"],
    "debias": ["--name", "x", "--attribute", "sex", "--data", "zoo:digits@train"],
    "bench": ["--quick"],
    "adapt": ["--name", "new", "--data", "zoo:digits@train", "--epochs", "0.1"],
    "serve": [],
}
"""Verbs that read a family file."""
DEBIAS = ["debias", "{file}", "--name", "x", "--attribute", "sex", "--data", "zoo:digits@train"]
FIT = ["fit", "zoo:mlp", "--data", "zoo:digits@train", "--epochs", "0", "-o", "out"]
LOADED = ["bench", "serve", "{file}", "--data", "zoo:digits@test"]
MISTAKES = [
    *([*FIT, "--device", name] for name in ("cuda", "cuda:3", "cuda:x", "tpu", "mps", "meta", "")),
    *([*FIT, "--epochs", text] for text in ("inf", "nan", "-1", "1e300", "many")),
    *([*FIT, "--seed", text] for text in ("99999999999999999999999", "-1", "1.5")),
    *([*FIT, "--learning-rate", text] for text in ("0", "-0.1", "nan", "inf", "100")),
    *([*FIT, "--batch-size", text] for text in ("1", "0", "-5", "1e3")),
    *([*FIT, option, ""] for option in ("--data", "--validation", "--weights", "--points", "--dtype")),
    *([*FIT, "--dtype", text] for text in ("float16", "int8")),
    [*FIT, "--data", "/dev/zero"],
    [*FIT, "--weights", "/dev/zero"],
    [*FIT, "-o", "/dev/null", "-y"],
    [*FIT, "-o", ".", "-y"],
    [*FIT, "-o", "x" * 300],
    ["fit", "zoo:mlp@hidden=1x", *FIT[2:]],
    ["fit", "", *FIT[2:]],
    ["inspect", "zoo:"],
    ["inspect", "zoo:mlp", "--weights", ""],
    ["inspect", "zoo:mlp", "--upto", "p10"],
    ["inspect", "{file}", "--weights", "w.safetensors"],
    ["measure", "{file}"],
    ["measure", "{file}", "--data", ""],
    ["measure", "{file}", "--latency", "--batch", "1000000000000"],
    ["measure", "{file}", "--latency", "--batch", "99999999999999999999999"],
    ["measure", "{file}", "--latency", "--threads", "999"],
    ["measure", "{file}", "--latency", "--runtime", "tensorrt"],
    ["measure", "{file}", "--data", "zoo:digits@test", "--runtime", "onnx"],
    *(["extract", "{file}", "-o", "out", "--share", text] for text in ("0", "-1", "nan", "inf", "1.5", "half")),
    *(["extract", "{file}", "-o", "out", "--macs", text] for text in ("0", "-1", "1", "1e6")),
    *(["extract", "{file}", "-o", "out", "--point", text] for text in ("", "p33", "P25", "../p25")),
    *(["extract", "{file}", "-o", "out", "--latency-ms", text] for text in ("0", "nan", "-1")),
    ["extract", "{file}", "-o", "out", "--latency-ms", "5", "--threads", "999"],
    ["export", "{file}", "-o", "out", "--to", "onnx", "--share", "1"],
    ["export", "{file}", "-o", "out.onnx", "--to", "tflite", "--share", "1"],
    ["export", "{file}", "-o", "out", "--to", "onnx", "--all-points", "--share", "1"],
    ["export", "{file}", "-o", "out", "--to", "openvino", "--all-points"],
    *(["specialize", "{file}", "-o", "out", "--classes", text] for text in ("", ",", "3", "3,3", "3,cat", "3;5")),
    [*FIT, "--class-scores", "--criterion", "magnitude-l2"],
    ["specialize", "{file}", "-o", "nowhere/at/all", "--classes", "3,5"],
    ["specialize", "{file}", "-o", "{file}", "--yes", "--classes", "3,5"],
    *(["specialize", "{file}", "-o", "out", "--classes", "3,5", option, "1"] for option in ("--epochs", "--held")),
    *(
        ["specialize", "{file}", "-o", "out", "--classes", "3,5", "--data", "zoo:digits@train", *more]
        for more in (["--epochs", "nan"], ["--scores", "stored"], ["--criterion", "random"], ["--device", "tpu"])
    ),
    ["specialize", "{file}", "-o", "out", "--classes", "3,5", "--data", ""],
    *(
        ["adapt", "{file}", "--data", "zoo:digits@train", "--name", "new", *more]
        for more in (
            *(["--kind", kind] for kind in ("", "lorra")),
            *(["--option", text] for text in ("rank", "rank=", "rank=many", "rank=0", "rank=1.5", "rnk=4", "rank=nan")),
            *(["--epochs", text] for text in ("0", "-1", "nan")),
            ["--layers", "nowhere"],
            ["--batch-size", "1"],
            ["--learning-rate", "0"],
            ["--held", "nowhere.npz"],
            ["-o", "nowhere/at/all"],
            ["-o", "{file}", "--yes"],
        )
    ),
    *(["adapt", "{file}", "--data", "zoo:digits@train", "--name", text] for text in ("", " ", "-x", "a,b", "__base__")),
    ["adapt", "{file}", "--data", "", "--name", "new"],
    *(["measure", "{file}", "--data", "zoo:digits@test", "--with", text] for text in ("new", ",", "-new", "auto")),
    ["measure", "{file}", "--latency", "--with", "new"],
    DEBIAS,
    [*DEBIAS, "--attribute", ""],
    [*DEBIAS, "--data", ""],
    [*DEBIAS, "--held", "nowhere.csv"],
    [*DEBIAS, "--beside", "{file}"],
    [*DEBIAS, "-o", "{file}", "--yes"],
    [*DEBIAS, "--name", ""],
    *([*DEBIAS, option, text] for option in ("--strength", "--penalty", "--epochs") for text in ("nan", "0", "-1")),
    *([*DEBIAS, *more] for more in (["--by", "magic"], ["--layer", "nowhere"], ["--values", "a,a"], ["--target", "y"])),
    ["audit", "{file}"],
    ["audit", "{file}", "--data", ""],
    *(["audit", "{file}", "--data", "zoo:digits@test", "--audits", text] for text in ("recal", ",")),
    *(["audit", "{file}", "--data", "zoo:digits@test", "--protect", text] for text in ("3", "3=0", "3=1", "cat=0.1")),
    *(["audit", "{file}", "--data", "zoo:digits@test", "--bound", text] for text in ("", "recall", "recall[cat]>=0.8")),
    [*FIT, "--factorize", "svd"],
    [*FIT, "--protect", "3=0.1"],
    *([*FIT, "--validation", "zoo:digits@validation", "--protect", text] for text in ("3", "3=0", "3=1", "cat=0.1")),
    *([*FIT, "--class-weights", text] for text in ("3", "3=0", "3=nan", "3=1e9", "cat=2", "heavy")),
    *([*FIT, "--rehearsals", text] for text in ("0", "17", "1.5")),
    [*FIT, "--tables", "0.5"],
    [*FIT, "--factorize", "spatial", "--tables", "1.5"],
    [*FIT, "--start", "nowhere"],
    ["report", "{file}", "--upto", "nan"],
    ["report", "{file}", "--upto", "p33"],
    ["methods", "--family", "Z"],
    ["methods", "--status", "working"],
    ["demo", "-o", "nowhere/at/all"],
    ["demo", "extra"],
    ["bench", "--themes", "speeed"],
    ["bench", "--data", "zoo:digits@test"],
    ["bench", "{file}", "--data", ""],
    ["bench", "-o", "/dev/null"],
    ["bench", "-o", "nowhere/at/all"],
    ["bench", "one", "two"],
    ["bench", "serve"],
    ["bench", "serve", "{file}"],
    ["bench", "serve", "nowhere", "--data", "zoo:digits@test"],
    *([*LOADED, "--budget-ms", text] for text in ("0", "-5", "nan", "inf")),
    *([*LOADED, "--seconds", text] for text in ("0", "nan", "inf")),
    [*LOADED, "--rounds", "0"],
    [*LOADED, "--runtime", "tensorrt"],
    [*LOADED, "-o", "nowhere/at/all"],
    *(["adapt", "{file}", "--name", "x", "--data", "zoo:digits@train", "--task", text] for text in ("", "guessing")),
    ["serve"],
    *(["serve", "{file}", "--port", text] for text in ("-1", "65536", "http", "")),
    *(["serve", "{file}", "--host", text] for text in ("", "192.0.2.1", "x" * 300)),
    *(["serve", "{file}", "--name", text] for text in ("a/b", "a?b", "\x1b[31m", "x" * 101)),
    *(["serve", "{file}", "--latency-budget-ms", text] for text in ("0", "-5", "nan", "inf", "soon")),
    *(["serve", "{file}", "--floor", text] for text in ("", "accuracy", "recall[3]")),
    *(["serve", "{file}", option, "0"] for option in ("--threads", "--max-batch", "--queue-limit")),
    ["serve", "{file}", "--max-batch", "99999999999"],
    ["serve", "{file}", "--copy-bytes", "-1"],
    ["serve", "{file}", "--runtime", "tensorrt"],
    ["serve", "{file}", "--modules", "nowhere.safetensors"],
]


def refused(words: list[str], capsys: Capsys) -> str:
    capsys.readouterr()
    assert main(words) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("error: ")) == ("", 1), captured.err
    assert not any(word in captured.err for word in ("Traceback", "internal error", "Warning"))
    return captured.err


@pytest.mark.parametrize("words", MISTAKES, ids=lambda words: " ".join(words)[:60])
def test_a_plain_mistake_is_no_internal_error(
    words: list[str], files: Files, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = refused([word.format(file=files.zoo) for word in words], capsys)
    assert len(text) < 1500
    assert list(tmp_path.iterdir()) == []


def test_every_verb_is_tried() -> None:
    tried = {name for words in MISTAKES for name in (words[0], "_".join(words[:2]))}
    assert {verb.__name__.rpartition(".")[2] for verb in VERBS} - {"search"} <= tried


@pytest.mark.parametrize("verb", READERS)
def test_what_is_no_family_file_is_refused_by_name(
    verb: str, files: Files, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = files.zoo.read_bytes()
    contents = {
        "empty": b"",
        "one": whole[:1],
        "start": whole[:300],
        "text": b"not a family\n",
        "zip": b"PK\x03\x04 this is something else" * 10,
        "huge": (2**63).to_bytes(8, "little") + whole[8:],
        "long": whole + b"x",
        "header": whole[:400] + b"\xff" + whole[401:],
    }
    for name, content in contents.items():
        Path(name).write_bytes(content)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    there = {*contents, "folder", "pipe"}
    for name in (*sorted(there), "none", "", "/dev/null"):
        text = refused([verb, name, *READERS[verb]], capsys)
        assert text.count("\n") == 1, text
    assert {path.name for path in tmp_path.iterdir()} == there


def test_names_that_could_be_commands_are_shown_harmless(tmp_path: Path, capsys: Capsys) -> None:
    text = refused(["inspect", f"{tmp_path}/a\x1b[31m\u202eb"], capsys)
    assert "a\ufffd[31m\ufffdb" in text


def test_bounds_are_told_in_words_of_the_command_line(capsys: Capsys, tmp_path: Path) -> None:
    words = [*FIT[:-1], str(tmp_path / "out")]
    assert "--learning-rate: got 0.0; allowed: above 0" in refused([*words, "--learning-rate", "0"], capsys)
    assert "--seed: got -1" in refused([*words, "--seed", "-1"], capsys)
    assert "--device: got 'tpu'" in refused([*words, "--device", "tpu"], capsys)
    assert "--data: got an empty text; allowed: a .npz" in refused([*words, "--data", ""], capsys)


def test_budgets_are_told_in_words_of_the_command_line(files: Files, capsys: Capsys) -> None:
    words = ["extract", str(files.zoo), "-o", "out", "--quiet"]
    assert "For a number of MACs use --macs." in refused([*words, "--share", "1.5"], capsys)
    text = refused([*words, "--latency-ms", "1e-9"], capsys)
    assert re.search(
        r"no operating point fits --latency-ms 1e-09: allowed: \d+\.\d+ ms or more \(the fastest point, 'p", text
    )


def test_a_network_without_its_scheme_is_recognised(capsys: Capsys) -> None:
    text = refused(["inspect", "digits-cnn"], capsys)
    assert "allowed: a family file, or a network such as zoo:digits-cnn. Did you mean 'zoo:digits-cnn'?" in text
    assert "allowed: zoo:NAME, hf:NAME" in refused(["inspect", "onnx:resnet-18"], capsys)


def test_no_words_and_the_short_word_give_help(capsys: Capsys) -> None:
    assert main([]) == 0
    assert "Usage: concertina [OPTIONS] COMMAND" in capsys.readouterr().out
    assert main(["fit", "-h"]) == 0
    assert "Usage: concertina fit" in capsys.readouterr().out


def test_methods_of_a_family_take_either_case(capsys: Capsys) -> None:
    assert main(["methods", "--family", "w"]) == 0
    captured = capsys.readouterr()
    assert "families: W width" in captured.out
    assert "::test_" not in captured.out
    assert max(map(len, captured.out.split("\n"))) < 160
    assert main(["methods", "--family", "w", "--verbose"]) == 0
    assert "::test_" in capsys.readouterr().out
