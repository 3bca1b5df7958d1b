"""Attention heads, proposed by the names of the projections: a unit is one key-value head with its query heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from torch import nn

from concertina.analyse.factored import EXPAND, Factored
from concertina.analyse.layers import linear_features

QUERY = frozenset({"q", "wq", "w_q", "to_q", "query", "q_proj", "q_lin", "q_linear", "query_proj", "fc_q"})
KEY = frozenset({"k", "wk", "w_k", "to_k", "key", "k_proj", "k_lin", "k_linear", "key_proj", "fc_k"})
VALUE = frozenset({"v", "wv", "w_v", "to_v", "value", "v_proj", "v_lin", "v_linear", "value_proj", "fc_v"})
FUSED = frozenset({"qkv", "qkv_proj", "to_qkv", "query_key_value", "wqkv", "w_pack", "c_attn", "in_proj"})
"""Names of one projection for queries, keys and values: those of a head together, or those of all heads one by one."""
OUT = (
    "out_proj",
    "o_proj",
    "proj",
    "to_out",
    "out",
    "o",
    "wo",
    "w_o",
    "out_lin",
    "out_linear",
    "c_proj",
    "fc_o",
    "dense",
)
HEAD_COUNTS = (
    "num_heads", "n_heads", "heads", "n_head", "nhead", "num_attention_heads", "num_key_value_heads", "num_kv_heads",
    "n_kv_heads", "h",
)  # fmt: skip
"""Names under which modules keep their number of heads."""
ALL_HEADS = ("all_head_size", "inner_dim", "all_head_dim", "attn_dim", "attention_dim", "split_size")
"""Names under which modules keep the size of all heads together."""
HEAD_SIZES = ("head_dim", "head_size", "attention_head_size", "dim_head", "dim_per_head", "d_k", "d_head")
"""Names under which modules keep the size of one head."""


@dataclass(frozen=True)
class Heads:
    """One attention module: its projections and the numbers of units it may have, the likeliest first."""

    path: str
    """Path of the attention module."""
    makers: tuple[str, ...]
    """Paths of the query, key and value projections, or of the one for all three: heads share out their outputs."""
    reader: str
    """Path of the output projection, whose inputs are the heads."""
    counts: tuple[int, ...]
    fused: bool = False
    """Whether one projection makes queries, keys and values."""


def find_heads(module: nn.Module) -> list[Heads]:
    """Return every module of a network that looks like attention, with separate projections or one for all three.

    Source: PROTOTYPE section 1 (ours): a dependency graph couples channels, not heads, so heads go by name.

    Example:
        >>> attention = nn.ModuleDict({name: nn.Linear(8, 8) for name in ("q", "k", "v", "proj")})
        >>> attention.num_heads = 2
        >>> find_heads(attention)[0].counts
        (2, 8, 4)
    """
    found = []
    for path, layer in module.named_modules():
        fused = _named_linear(layer, FUSED)
        makers = [fused] if fused else [_named_linear(layer, names) for names in (QUERY, KEY, VALUE)]
        projections = [linear for linear in makers if linear is not None]
        if len(projections) < len(makers):
            continue
        sizes = [made for _, made in projections]
        width = sizes[0] // 3 if fused else sizes[2]
        reader = _reader(module, path, width)
        if reader is not None:
            counts = head_counts(layer, gcd(*sizes, reader[1]), width if fused else sizes[1])
            paths = tuple(_join(path, name) for name, _ in projections)
            found.append(Heads(path, paths, reader[0], counts, bool(fused)))
    return found


def head_counts(layer: nn.Module, width: int, key_width: int) -> tuple[int, ...]:
    """Return the numbers of units that `width` positions may be split into: those the module speaks of come first.

    Args:
        layer: The attention module.
        width: Positions that all projections share a divisor of.
        key_width: Positions of the key projection.
    """
    spoken = [value for name in HEAD_COUNTS if (value := number(layer, name))]
    spoken += [key_width // value for name in HEAD_SIZES if (value := number(layer, name))]
    divisors = [count for count in range(width, 1, -1) if width % count == 0]
    likely = sorted({count for count in spoken if count in divisors}, reverse=True)
    return tuple(dict.fromkeys((*likely, *divisors)))


def number(layer: nn.Module, name: str) -> int:
    """Return a positive whole number that `layer` keeps under `name`; 0 when there is none."""
    value = vars(layer).get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _named_linear(layer: nn.Module, names: frozenset[str]) -> tuple[str, int] | None:
    """Return path and number of outputs of the first linear child of some names; of a pair the last."""
    for name, child in layer.named_children():
        path, last = (f"{name}.{EXPAND}", child.get_submodule(EXPAND)) if isinstance(child, Factored) else (name, child)
        features = linear_features(last)
        if name.lower() in names and features is not None:
            return path, features[1]
    return None


def _reader(module: nn.Module, path: str, width: int) -> tuple[str, int] | None:
    """Return path and number of inputs of the output projection.

    It is a child with a usual name, or else the first of fitting width beside the module.
    """
    children = {name.lower(): (name, child) for name, child in module.get_submodule(path).named_children()}
    for name, child in (children[usual] for usual in OUT if usual in children):
        for below, read in _linears(child):
            return _join(path, name, below), read
    beside = path.rpartition(".")[0]
    for below, read in _linears(module.get_submodule(beside)) if path else ():
        candidate = _join(beside, below)
        if not candidate.startswith(f"{path}.") and read == width:
            return candidate, read
    return None


def _linears(layer: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield path and number of inputs of all linear layers."""
    for path, below in layer.named_modules():
        features = linear_features(below)
        if features is not None:
            yield path, features[0]


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)
