"""A folder of the hub: fetched where it is not here, and read without trusting it."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from concertina.errors import ExtraError, LoadError, how_to_install
from concertina.load.hub.base import told
from concertina.load.weights import read_weights
from concertina.types import Preprocess

WEIGHTS, INDEX, CARD = "model.safetensors", "model.safetensors.index.json", "README.md"
WANTED = (
    "config.json",
    "preprocessor_config.json",
    "modules.json",
    "1_Pooling/config.json",
    CARD,
    WEIGHTS,
    INDEX,
    "model-*.safetensors",
)
"""What is fetched of a repository: data only."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
MAX_TEXT_BYTES = 16 * 2**20
"""Longest JSON text or model card that is read."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def fetched(name: str, *wanted: str) -> Path:
    """Return a folder that is here, or the hub's of that name, through the cache of huggingface_hub.

    Args:
        name: A folder, or "org/name" on the hub.
        *wanted: Patterns of the files that are needed; none but these are fetched.

    Raises:
        LoadError: There is neither; or the hub cannot be reached and the cache does not have it.
        ExtraError: It is no folder, and huggingface_hub is not installed.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise LoadError(f"{name!r} is a file", allowed="a folder made by save_pretrained, or org/name")
    if name.startswith((".", "/", "~")) or not _REPOSITORY.fullmatch(name) or ".." in name:
        raise LoadError(f"folder {name!r} is not there", allowed="a folder made by save_pretrained, or org/name")
    return _snapshot(name, wanted or WANTED)


def _snapshot(name: str, wanted: tuple[str, ...]) -> Path:
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ExtraError(
            f"no folder {name!r} is here, and the hub needs a package that is not installed",
            asked=error.name or "huggingface_hub",
            do=how_to_install("hf"),
        ) from error
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(wanted)))
    except Exception as error:  # the hub's errors are many: no such repository, no network, no right, a full disk
        raise LoadError(
            f"no folder {name!r} is here, and the hub gave none of that name",
            asked=told(error, lines=1),
            do="Check the name and the network, or give a folder made by save_pretrained.",
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one where there is no such file.

    Raises:
        LoadError: The file is too large, no JSON, or holds NaN, infinity or something else than an object.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(_text(path), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{str(path)!r} is no sound JSON", asked=str(error)[:200]) from error
    if not isinstance(found, dict):
        raise LoadError(f"{str(path)!r}", asked=type(found).__name__, allowed="a JSON object")
    return found


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a folder by name: one safetensors file, or several and their index.

    Raises:
        LoadError: There are none, or only such as could run code; a file is damaged or missing.
    """
    if (folder / WEIGHTS).is_file():
        return read_weights(folder / WEIGHTS)
    names = read_json(folder / INDEX).get("weight_map")
    if isinstance(names, dict) and names:
        files = sorted({str(file) for file in names.values()})
        strange = [file for file in files if Path(file).name != file or not file.endswith(".safetensors")]
        if strange:
            raise LoadError(f"{INDEX} of {str(folder)!r}", asked=strange[0], allowed="safetensors files beside it")
        return {name: tensor for file in files for name, tensor in read_weights(folder / file).items()}
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise LoadError(
            f"the weights in {str(folder)!r} are a pickle, which could run code and is never read",
            asked=pickles[0],
            allowed=WEIGHTS,
            do="Save them anew: model.save_pretrained(folder) writes safetensors.",
        )
    raise LoadError(f"no weights in {str(folder)!r}", allowed=WEIGHTS, do="Give weights='random' for untrained ones.")


def licence_of(folder: Path) -> str:
    """Return the licence that the front matter of the model card states; empty where it states none."""
    if not (folder / CARD).is_file():
        return ""
    lines = _text(folder / CARD).splitlines()
    if not lines or lines[0].strip() != "---":
        return ""
    matter = lines[1 : next((i for i, line in enumerate(lines[1:], 1) if line.strip() == "---"), 1)]
    for place, line in enumerate(matter):
        key, colon, value = line.partition(":")
        if colon and key.strip() == "license":
            below = matter[place + 1].strip() if place + 1 < len(matter) else ""
            return (value.strip() or (below.removeprefix("-") if below.startswith("-") else "")).strip(" '\"[]")[:200]
    return ""


def preprocess_of(facts: Mapping[str, Any]) -> Preprocess:
    """Return what `preprocessor_config.json` says of scale, mean and deviation.

    Raises:
        LoadError: They are no numbers.
    """
    try:
        scale = float(facts.get("rescale_factor", 1 / 255)) if facts.get("do_rescale", True) else 1.0
        if not facts.get("do_normalize", "image_mean" in facts):
            return Preprocess(scale)
        mean, std = (tuple(float(number) for number in facts[key]) for key in ("image_mean", "image_std"))
    except (TypeError, ValueError, KeyError) as error:
        raise LoadError(
            "preprocessor_config.json", asked=str(error), allowed="numbers for scale, mean and std"
        ) from error
    return Preprocess(scale, mean, std)


def unlike(names: list[str]) -> tuple[str, ...]:
    """Return class names with the number of the class added to those that are there twice.

    Example:
        >>> unlike(["crane", "dog", "crane"])
        ('crane (0)', 'dog', 'crane (2)')
    """
    return tuple(f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise LoadError(f"{str(path)!r} is too large", allowed=f"{MAX_TEXT_BYTES:,} bytes")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"{str(path)!r} cannot be read", asked=str(error)) from error


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no finite number")
