"""PEFT's adapter files, `adapter_config.json` and `adapter_model.safetensors`: read without trust, and written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from concertina.errors import (
    DtypeError,
    FormatError,
    HeaderError,
    InputError,
    LoadError,
    ShapeError,
    StorageError,
    some,
)
from concertina.load.hub.folder import read_json
from concertina.load.weights import read_weights
from concertina.save.atomic import replacing

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."
LORA, IA3 = "lora", "ia3"
PARTS = {
    LORA: {"lora_A.weight": "A", "lora_B.weight": "B", "lora_embedding_A": "A", "lora_embedding_B": "B"},
    IA3: {"ia3_l": "scale"},
}
"""Kind of adapter -> end of a key -> what the tensor is: "A" (rank, in, ...), "B" (out, rank, ...), "scale"."""
TOLD = {
    *("peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "peft_version"),
    *("inference_mode", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("modules_to_save", "fan_in_fan_out", "megatron_core"),
}
"""Facts that are read, or that say only what the tensors say themselves."""
OF_KIND = {
    LORA: {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout", "init_lora_weights"}
    | {"qalora_group_size", "eva_config"},
    IA3: {"feedforward_modules", "init_ia3_weights"},
}
NEUTRAL = {"bias": "none"}
"""Facts whose value that changes nothing is none of those that say no."""
STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Ways to start a LoRA that leave the core's weights as they are."""
_PATH = re.compile(r"\^?(?:[\w.-]|\\[.-])+\$?")


@dataclass(frozen=True, eq=False)
class Adapter:
    """What the two files of an adapter say, paths as in the network it was trained on."""

    kind: str
    """"lora" or "ia3"."""
    layers: Mapping[str, Mapping[str, Tensor]]
    """Path of a layer -> "A" and "B", or "scale", as they lie in the file."""
    embeddings: frozenset[str] = frozenset()
    """Of a LoRA: paths of the layers that are embeddings."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """Of a LoRA: path -> what B A is multiplied by."""
    inputs: frozenset[str] = frozenset()
    """Of IA3: paths of the layers whose inputs are scaled."""
    saved: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensor name -> value, of layers that were trained as a whole."""
    tables: Mapping[str, Tensor] = field(default_factory=dict)
    """Path -> the core's own weight there, which PEFT keeps beside adapted embeddings."""
    targets: tuple[str, ...] = ()
    """Ends of paths that the adapter says it is on; none where it says so by a pattern."""


def read_adapter(folder: Path) -> Adapter:
    """Return the adapter in a folder; nothing is executed, and nothing is left out in silence.

    Raises:
        StorageError: There is no such folder, or a file cannot be read.
        FormatError: A file is missing or damaged, or tensors are not those of an adapter.
        InputError: It is of a kind, or has an option, that no module can stand for; the text names it.
    """
    config, tensors = _files(folder)
    kind = str(config.get("peft_type", "")).lower()
    if kind not in PARTS:
        raise InputError(f"peft_type of {str(folder)!r}", asked=repr(config.get("peft_type")), allowed="'LORA', 'IA3'")
    _check_options(config, kind)
    found = replace(_sorted_out(tensors, kind, _texts(config, "modules_to_save")), targets=_targets(config))
    if kind == LORA:
        return replace(found, scales={path: _scale(config, path, parts) for path, parts in found.layers.items()})
    reading = (path for path, parts in found.layers.items() if _reads(config, path, parts["scale"]))
    return replace(found, inputs=frozenset(reading))


def write_adapter(folder: Path, adapter: Adapter, paths: Iterable[str], facts: Mapping[str, Any]) -> None:
    """Write an adapter as PEFT does, so that its `from_pretrained` takes it.

    Args:
        folder: Where to write; made when missing. Another adapter there is replaced.
        adapter: What to write.
        paths: Paths of all modules of the network.
        facts: Further facts of the configuration.

    Raises:
        StorageError: The disk refuses.
    """
    tensors = {f"{PREFIX}{name}": tensor for name, tensor in adapter.saved.items()}
    for path, parts in adapter.layers.items():
        for end, part in PARTS[adapter.kind].items():
            if ("embedding" in end) == (path in adapter.embeddings):
                tensors[f"{PREFIX}{path}.{end}"] = parts[part]
    content = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    config = {**_written_config(adapter, list(paths)), **facts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"writing {str(folder)!r}", asked=error.strerror or str(error)) from error
    with replacing(folder / WEIGHTS) as file:
        file.write(save(content, {"format": "pt"}))
    with replacing(folder / CONFIG) as file:
        file.write((json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def _files(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not folder.is_dir():
        raise StorageError(f"folder {str(folder)!r}", asked="none", allowed=f"one with {CONFIG} and {WEIGHTS}")
    if (folder / PICKLE).exists() and not (folder / WEIGHTS).exists():
        do = "Load it with peft where you trust it, and save it anew: model.save_pretrained(folder) writes safetensors."
        asked = f"{PICKLE}, a pickle, which could run code and is never read"
        raise FormatError(f"adapter {str(folder)!r}", asked=asked, allowed=WEIGHTS, do=do)
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise FormatError(f"adapter {str(folder)!r}", asked=f"no {missing[0]}", allowed=f"{CONFIG} and {WEIGHTS}")
    try:
        config, tensors = read_json(folder / CONFIG), read_weights(folder / WEIGHTS)
    except LoadError as error:
        raise FormatError(f"adapter {str(folder)!r} is damaged", asked=str(error)[:300]) from error
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DtypeError(f"tensor {key!r} of the adapter", asked=str(tensor.dtype), allowed="floating point")
        if not bool(torch.isfinite(tensor).all()):
            raise ShapeError(f"tensor {key!r} of the adapter", asked="NaN or infinite values", allowed="finite ones")
    return config, tensors


def _check_options(config: Mapping[str, Any], kind: str) -> None:
    """Refuse options that change what an adapter computes in a way that no module can stand for, also unknown ones."""
    for name, value in config.items():
        if name in TOLD or name in OF_KIND[kind]:
            continue
        if value != NEUTRAL.get(name) and not _says_no(value):
            allowed = repr(NEUTRAL.get(name, "none of it"))
            raise InputError(f"option {name!r} of a {kind} adapter", asked=repr(value)[:100], allowed=allowed)
    start = config.get("init_lora_weights")
    if kind == LORA and not any(start is known or (start == known and isinstance(start, str)) for known in STARTS):
        do = "Convert it to plain LoRA: save_pretrained(folder, path_initial_model_for_weight_conversion=...)."
        allowed = "starts that leave the core's weights as they are"
        raise InputError(
            "option 'init_lora_weights' of a lora adapter", asked=repr(start)[:100], allowed=allowed, do=do
        )


def _says_no(value: object) -> bool:
    return not any(value.values()) if isinstance(value, dict) else not value


def _sorted_out(tensors: Mapping[str, Tensor], kind: str, saved_names: Sequence[str]) -> Adapter:
    """Return an adapter in which every tensor has its place."""
    embeddings: set[str] = set()
    layers: dict[str, dict[str, Tensor]] = {}
    saved: dict[str, Tensor] = {}
    tables: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        end = next((end for end in PARTS[kind] if name.endswith(f".{end}")), "")
        if end and name != key:
            path = name.removesuffix(f".{end}")
            layers.setdefault(path, {})[PARTS[kind][end]] = tensor
            embeddings |= {path} if "embedding" in end else set()
        elif name != key and name.endswith(".base_layer.weight"):
            tables[name.removesuffix(".base_layer.weight")] = tensor
        elif name != key and any(f".{each}." in f".{name}" for each in saved_names):
            saved[name] = tensor
        else:
            ends = some(f"{PREFIX}PATH.{end}" for end in PARTS[kind])
            raise ShapeError(f"tensor {key!r} of the adapter", asked="a name without a place", allowed=ends)
    for path, parts in layers.items():
        lacking = sorted(set(PARTS[kind].values()) - set(parts))
        if lacking:
            raise ShapeError(f"layer {path!r} of the adapter", asked=f"no {kind}_{lacking[0]}", allowed="A and B")
    if not layers and not saved:
        raise FormatError("weights of the adapter", asked="no tensor", allowed="some")
    return Adapter(kind, layers, frozenset(embeddings), saved=saved, tables=tables)


def _scale(config: Mapping[str, Any], path: str, parts: Mapping[str, Tensor]) -> float:
    """Return what B A of a layer is multiplied by."""
    rank = parts["A"].shape[0] if parts["A"].dim() else 0
    told, alpha = (
        _by_pattern(config, *names, path) for names in (("r", "rank_pattern"), ("lora_alpha", "alpha_pattern"))
    )
    if told != rank:
        raise ShapeError(
            f"tensor 'lora_A' of {path!r}", asked=f"rank {rank}", allowed=f"rank {told:g}, as its config says"
        )
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(config: Mapping[str, Any], fact: str, pattern: str, path: str) -> float:
    """Return a number of the configuration for a layer: that of the first pattern that its path ends in."""
    patterns = config.get(pattern) or {}
    if not isinstance(patterns, dict):
        raise HeaderError(f"{pattern!r} of the adapter", asked=repr(patterns)[:60], allowed="a table")
    value = next((each for name, each in patterns.items() if _ends(name, path, pattern)), config.get(fact, 8))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise HeaderError(f"{fact!r} of the adapter at {path!r}", asked=repr(value)[:60], allowed="a number above 0")
    return float(value)


def _ends(name: str, path: str, where: str) -> bool:
    """Return whether a path ends in a pattern that is a plain path; others are refused, none is run."""
    if not _PATH.fullmatch(name):
        raise InputError(f"{where!r} of the adapter", asked=repr(name)[:100], allowed="paths, no regular expressions")
    plain = name.replace("\\", "").strip("^$")
    return path == plain or (not name.startswith("^") and path.endswith(f".{plain}"))


def _reads(config: Mapping[str, Any], path: str, scale: Tensor) -> bool:
    """Return whether a layer's inputs are scaled; where a pattern says so, the shape of the scales tells."""
    named = config.get("feedforward_modules") or ()
    if not isinstance(named, str):
        return any(path.endswith(name) for name in _texts(config, "feedforward_modules"))
    if scale.dim() != 2:
        do = "List the layers in adapter_config.json."
        raise InputError("'feedforward_modules' of the adapter", asked=repr(named)[:100], allowed="a list", do=do)
    return scale.shape[0] == 1


def _texts(config: Mapping[str, Any], name: str) -> list[str]:
    values = config.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise HeaderError(f"{name!r} of the adapter", asked=repr(values)[:60], allowed="a list of names")
    return values


def _targets(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ends of paths that the adapter is on, where it lists them and leaves none out again."""
    chosen = any(config.get(name) is not None for name in ("exclude_modules", "layers_to_transform", "layers_pattern"))
    if chosen or isinstance(config.get("target_modules"), str):
        return ()
    return tuple(_texts(config, "target_modules"))


def _written_config(adapter: Adapter, paths: Sequence[str]) -> dict[str, Any]:
    """Return the configuration that says which layers an adapter is on, and how strong it is at each."""
    told: dict[str, Any] = {
        "peft_type": adapter.kind.upper(),
        "inference_mode": True,
        "target_modules": _named(list(adapter.layers), paths, "."),
        "modules_to_save": sorted({name.rpartition(".")[0] for name in adapter.saved}) or None,
    }
    if adapter.kind == IA3:
        return {**told, "feedforward_modules": _named(sorted(adapter.inputs), list(adapter.layers), "")}
    ranks = {path: parts["A"].shape[0] for path, parts in adapter.layers.items()}
    rank = next(iter(ranks.values()))
    alphas = {path: adapter.scales[path] * ranks[path] for path in ranks}
    alpha = next(iter(alphas.values()))
    return {
        **told,
        "r": rank,
        "lora_alpha": _whole(alpha),
        "rank_pattern": {f"^{re.escape(path)}": each for path, each in ranks.items() if each != rank},
        "alpha_pattern": {f"^{re.escape(path)}": _whole(each) for path, each in alphas.items() if each != alpha},
    }


def _named(chosen: Sequence[str], paths: Sequence[str], before: str) -> list[str] | str:
    """Return paths as PEFT takes them: as a list where no other path ends in one, else as a pattern."""
    others = [path for path in paths if path not in chosen]
    if any(other.endswith(f"{before}{path}") for other in others for path in chosen):
        return "|".join(re.escape(path) for path in chosen)
    return list(chosen)


def _whole(number: float) -> float:
    """Return a number as a whole one where it is."""
    return int(number) if float(number).is_integer() else number
