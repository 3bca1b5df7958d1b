"""What a folder of transformers says of its network: class, task, pooling, class names, what it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concertina.errors import LoadError, some
from concertina.load.hub.base import BY_HAND
from concertina.load.hub.folder import read_json, unlike
from concertina.load.hub.heads import ENCODERS, IMAGES, Known
from concertina.load.hub.wrap import POOLINGS

EXAMPLE_TOKENS = 32
"""Tokens of the example inputs: MACs are told for texts of this length."""
IMAGE_SIZE = 224
"""Side of the example images where neither the configuration nor the preprocessing tells one."""
PLAIN_MODULES = ("Transformer", "Pooling", "Normalize")
"""Steps of a sentence encoder that the wrapper stands for; the length of a vector changes no cosine."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration in a folder; raises `LoadError` where there is none that is sound."""
    raw = read_json(folder / "config.json")
    if raw:
        return raw
    if (folder / "adapter_config.json").is_file():
        do = "Merge it into its base model, and save that: merge_and_unload().save_pretrained(folder)."
        raise LoadError(f"{str(folder)!r} holds an adapter, no network", do=do)
    raise LoadError(f"no config.json in {str(folder)!r}", allowed="a folder made by save_pretrained, or org/name")


def class_name_of(raw: Mapping[str, Any], folder: Path) -> str:
    """Return the class that a configuration names; raises `LoadError` where it names none."""
    names = raw.get("architectures")
    if isinstance(names, list) and names:
        return str(names[0])
    if "architecture" in raw and "model_type" not in raw:
        raise LoadError(f"{str(folder)!r} holds a network of timm", do="Load it with 'timm:NAME'.")
    raise LoadError(f"config.json of {str(folder)!r} names no architectures", do=BY_HAND)


def check_rule_fits(raw: Mapping[str, Any], name: str, known: Known, folder: Path) -> None:
    """Refuse networks that the rule of their class does not fit."""
    if raw.get("is_encoder_decoder"):
        raise LoadError(f"{name} in {str(folder)!r} has an encoder and a decoder", allowed="one of both", do=BY_HAND)
    if known.head.named:
        kind, labels = raw.get("problem_type"), raw.get("id2label")
        if kind not in (None, "single_label_classification") or (isinstance(labels, Mapping) and len(labels) == 1):
            asked = str(kind or "one output")
            raise LoadError(f"task of {name}", asked=asked, allowed="one class of two or more", do=BY_HAND)
    if known.head is ENCODERS:
        steps = _steps(folder / "modules.json")
        strange = [step for step in steps if step not in PLAIN_MODULES]
        if strange:
            allowed = ", ".join(PLAIN_MODULES)
            raise LoadError(
                f"steps of the sentence encoder in {str(folder)!r}", asked=some(strange), allowed=allowed, do=BY_HAND
            )


def _steps(path: Path) -> list[str]:
    """Return the kinds of a sentence encoder's steps."""
    if not path.is_file():
        return []
    try:
        return [str(step["type"]).rpartition(".")[2] for step in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise LoadError(f"{str(path)!r} is no list of steps", asked=str(error)[:200]) from error


def pooling_of(folder: Path) -> str:
    """Return how a sentence encoder pools: as its folder says, else the mean."""
    told = read_json(folder / "1_Pooling" / "config.json")
    ways = {
        key.removeprefix("pooling_mode_") for key, on in told.items() if key.startswith("pooling_mode_") and on is True
    }
    ways = ways or {str(told.get("pooling_mode", "mean_tokens"))}
    known = {"mean_tokens": "mean", "cls_token": "cls", "mean": "mean", "cls": "cls"}
    if len(ways) != 1 or not ways <= set(known):
        raise LoadError(
            f"pooling of {str(folder)!r}", asked=some(sorted(ways)), allowed=", ".join(POOLINGS), do=BY_HAND
        )
    return known[ways.pop()]


def class_names_of(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes in the order of the outputs; none where they are but numbers."""
    labels = raw.get("id2label")
    if not isinstance(labels, Mapping):
        return ()
    try:
        named = {int(key): str(name) for key, name in labels.items()}
    except ValueError as error:
        raise LoadError("id2label in config.json", asked=str(error), allowed="class numbers as keys") from error
    if sorted(named) != list(range(len(named))):
        raise LoadError("id2label in config.json", asked=some(sorted(named)), allowed="class numbers from 0 on")
    if all(name == f"LABEL_{i}" for i, name in named.items()):
        return ()
    return unlike([named[i] for i in range(len(named))])


def example_inputs(known: Known, config: Any, preprocessing: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Return a batch of two inputs, the same at every call: pixels, or token ids without padding and other marks.

    Args:
        known: The rule of the network's class.
        config: Its configuration, as the library holds it.
        preprocessing: What `preprocessor_config.json` says.

    Raises:
        LoadError: The sizes that they state make no sense.
    """
    generator = torch.Generator().manual_seed(0)
    if known.head is IMAGES:
        part = getattr(config, "vision_config", config)
        channels = getattr(part, "num_channels", 3)
        return (torch.randn(2, channels, *_image_size(part, preprocessing), generator=generator),)
    words = getattr(config, "vocab_size", None)
    if not isinstance(words, int) or words < 4:
        raise LoadError("vocab_size of the configuration", asked=repr(words), allowed="4 or more")
    positions = getattr(config, "max_position_embeddings", None) or EXAMPLE_TOKENS + 2
    tokens = max(2, min(EXAMPLE_TOKENS, positions - 2))
    ids = torch.randint(1, words, (2, tokens), generator=generator)
    marks = [getattr(config, f"{name}_token_id", None) for name in ("pad", "eos", "bos")]
    special = {mark for mark in marks if isinstance(mark, int)}
    plain = next(i for i in range(words - 1, -1, -1) if i not in special)
    for mark in special:
        ids[ids == mark] = plain
    return (ids,)


def _image_size(config: Any, preprocessing: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width of the images that a network reads."""
    told = getattr(config, "image_size", None)
    for size in (told, preprocessing.get("crop_size"), preprocessing.get("size"), IMAGE_SIZE):
        if isinstance(size, Mapping):
            side = size.get("shortest_edge")
            size = (size.get("height", side), size.get("width", side))
        pair = (size, size) if isinstance(size, int) else size
        if isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(side, int) for side in pair):
            if not all(1 <= side <= 4096 for side in pair):
                raise LoadError("size of the images", asked=str(pair), allowed="1 to 4096")
            return int(pair[0]), int(pair[1])
    return IMAGE_SIZE, IMAGE_SIZE
