"""A configuration of transformers as plain data: what builds a network stays, what could reach further does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from concertina.errors import LoadError

MAX_NUMBER = 2**26
"""Largest whole number of a configuration: layers, widths, token ids."""
MAX_TEXT = 1000
MAX_ITEMS = 10_000
MAX_DEPTH = 6
SET = {"use_cache": False, "return_dict": True, "output_attentions": False, "output_hidden_states": False}
"""What the wrapper relies on."""
DROPPED = {
    *(
        "architectures",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "id2label",
        "label2id",
        "auto_map",
        "name_or_path",
    ),
    *("attn_implementation", "experts_implementation", "transformers_weights", "fusion_config", "custom_pipelines"),
    *("task_specific_params", "finetuning_task", "kernel_config", "use_kernels"),
}
"""Facts that build nothing, and such as name files, code or kernels to fetch."""
REFUSED = ("quantization_config", "backbone", "use_timm_backbone", "per_layer_config")
"""What the network would need another library for."""


def as_data(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as plain data that builds the same network and names no file, code or kernel.

    Applied twice it gives what it gave once.

    Raises:
        LoadError: It asks for what is not supported, or holds what no sound configuration does.

    Example:
        >>> as_data({"hidden_size": 8, "auto_map": {"AutoModel": "code.py"}})["hidden_size"]
        8
    """
    plain = _plain(config, "config", 0)
    return {**plain, **SET}


def check_data(config: object) -> dict[str, Any]:
    """Return the configuration of a file somebody else wrote, after checking that `as_data` could have made it.

    Raises:
        LoadError: It could not.
    """
    if not isinstance(config, dict) or as_data(config) != config:
        raise LoadError(
            "configuration of the file", asked="more than plain sizes", allowed="what ct.load('hf:...') keeps"
        )
    return config


def _plain(value: Any, where: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value, where)
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    if isinstance(value, list | tuple) and depth < MAX_DEPTH and len(value) <= MAX_ITEMS:
        return [_plain(item, where, depth + 1) for item in value]
    if isinstance(value, Mapping) and depth < MAX_DEPTH and len(value) <= MAX_ITEMS:
        return _table(value, where, depth)
    raise LoadError(
        where, asked=f"{type(value).__name__} {str(value)[:60]!r}", allowed="short texts, numbers and lists"
    )


def _table(table: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
    for name in REFUSED:
        if table.get(name):
            raise LoadError(f"{name!r} in the {where}", asked=str(table[name])[:60], allowed="networks without it")
    if str(table.get("model_type", "")).startswith("timm"):
        raise LoadError(f"the {where} is of timm", do="Load it with 'timm:NAME'.")
    kept = ((str(key), item) for key, item in table.items() if not str(key).startswith("_") and key not in DROPPED)
    return {key: _plain(item, f"{where}.{key}"[:200], depth + 1) for key, item in kept}


def _number(value: float, where: str) -> float:
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise LoadError(where, asked=str(value)[:40], allowed=f"whole numbers up to {MAX_NUMBER:,}")
    if not math.isfinite(value):
        raise LoadError(where, asked=str(value), allowed="finite numbers")
    return value
