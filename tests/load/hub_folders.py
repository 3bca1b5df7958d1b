"""Small folders as `save_pretrained` of transformers makes them, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

WORDS = 60
TEXT: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 20,
}  # fmt: skip
SHAPES = {0: "circle", 1: "square", 2: "star"}
PIXELS = {
    "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.2, 0.2, 0.2], "size": {"height": 16, "width": 16},
}  # fmt: skip
CARD = "---\nlanguage: en\nlicense: apache-2.0\n---\n# A small network\n"


def saved(network: Any, folder: Path) -> Path:
    """Write a network as its users do; return the folder."""
    network.eval().save_pretrained(folder)
    return folder


def image_classifier(hf: Any, folder: Path, **more: Any) -> Path:
    """Return a folder with a small ResNet of three classes, its preprocessing and its card."""
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "layer_type": "basic"}
    config = hf.ResNetConfig(id2label=SHAPES, **(sizes | more))
    saved(hf.ResNetForImageClassification(config), folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS), encoding="utf-8")
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return folder


def text_classifier(hf: Any, folder: Path, kind: str = "Bert", **more: Any) -> Path:
    """Return a folder with a small text classifier of two classes."""
    torch.manual_seed(1)
    config = getattr(hf, f"{kind}Config")(id2label={0: "bad", 1: "good"}, **(TEXT | more))
    return saved(getattr(hf, f"{kind}ForSequenceClassification")(config), folder)


def changed(folder: Path, **facts: Any) -> Path:
    """Change facts of a folder's configuration; None takes one out."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | facts
    path.write_text(json.dumps({key: fact for key, fact in config.items() if fact is not None}), encoding="utf-8")
    return folder
