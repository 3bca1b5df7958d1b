"""The verbs on networks of transformers: what can be made of one, and families of images and of texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.load.hub_folders import image_classifier, text_classifier

from concertina.cli import main

hf = pytest.importorskip("transformers")
Capsys = pytest.CaptureFixture[str]


def test_inspect_tells_in_about_ten_lines_what_can_be_made_of_a_network(tmp_path: Path, capsys: Capsys) -> None:
    folder = image_classifier(hf, tmp_path / "shapes")
    capsys.readouterr()
    assert main(["inspect", f"hf:{folder}", "--samples", "5000", "--epochs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 8 <= len(lines) <= 12
    told = {line[:27].strip(): line[27:].strip() for line in lines}
    assert told["source"] == "hf:shapes"
    assert told["task"] == "classification, 3 classes"
    assert told["elastic groups"].split()[1] == "of"
    assert told["smallest subnet"].count("%") == 2
    assert told["a default training"].startswith("2 epochs of 5,000 samples: ")
    assert told["a default training"].endswith("on this machine")


def test_inspect_gives_programs_all_of_it(tmp_path: Path, capsys: Capsys) -> None:
    folder = text_classifier(hf, tmp_path / "texts")
    facts = {}
    for samples in (1280, 2560):
        capsys.readouterr()
        assert main(["inspect", f"hf:{folder}", "--samples", str(samples), "--json", "-q"]) == 0
        facts[samples] = json.loads(capsys.readouterr().out)
    found = facts[1280]
    assert 0 < found["smallest macs"] < found["macs"]
    assert 0 < found["smallest bytes"] < found["size bytes"]
    assert 0.9 < found["elastic parameters"] <= 1
    assert found["training seconds"] > 0
    assert facts[2560]["training macs"] == pytest.approx(2 * found["training macs"], rel=0.1)
    assert {group["group"] for group in found["groups"] if not group["elastic"]}


def test_inspect_lists_groups_and_blocks_when_asked(capsys: Capsys) -> None:
    assert main(["inspect", "zoo:mlp", "-q"]) == 0
    short = capsys.readouterr().out
    assert main(["inspect", "zoo:mlp", "-q", "--verbose"]) == 0
    long = capsys.readouterr().out
    assert long.startswith(short.splitlines()[0])
    assert "it is the network's output" in long
    assert "it is the network's output" not in short


def test_a_folder_that_is_a_network_is_recognised(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert main(["inspect", str(tmp_path)]) == 2
    assert f"Did you mean 'hf:{tmp_path}'?" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--samples", "1"), ("--epochs", "nan"), ("--epochs", "-1")])
def test_a_training_that_cannot_be_is_refused(option: str, value: str, capsys: Capsys) -> None:
    assert main(["inspect", "zoo:mlp", option, value]) == 2
    assert option in capsys.readouterr().err


def test_an_image_classifier_is_fitted_and_its_folder_inspected(tmp_path: Path, capsys: Capsys) -> None:
    folder = image_classifier(hf, tmp_path / "shapes")
    images = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(24) % 3)
    words = ["fit", f"hf:{folder}", "--data", str(tmp_path / "d.npz"), "--validation", str(tmp_path / "d.npz")]
    words += ["--points", "0.5,1", "--epochs", "0", "-q", "-o", str(tmp_path / "family.concertina")]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == "hf:shapes"


def test_a_text_classifier_is_fitted_with_the_tokenizer_of_its_folder(tmp_path: Path, capsys: Capsys) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    folder = text_classifier(hf, tmp_path / "texts")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": 0, "fine": 1, "dull": 2}, "dull"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    rows = ["text,label", *("fine fine,good", "dull dull dull,bad") * 12]
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    words = ["fit", f"hf:{folder}", "--data", str(tmp_path / "t.csv"), "--validation", str(tmp_path / "t.csv")]
    words += ["--points", "0.5,1", "--epochs", "1", "--batch-size", "8", "-q", "-o", str(tmp_path / "t.concertina")]
    assert main(words) == 2
    assert "Give --tokenizer FILE" in capsys.readouterr().err
    made.save(str(folder / "tokenizer.json"))
    assert main(words) == 0
    measure = ["measure", str(tmp_path / "t.concertina"), "--data", str(tmp_path / "t.csv"), "-q"]
    assert main([*measure, "--tokenizer", str(folder / "tokenizer.json")]) == 0
    assert "accuracy" in capsys.readouterr().out
