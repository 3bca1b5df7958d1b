"""Layers written as two of lower rank: which, and how far."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from concertina.analyse.decompose import decomposed, second_moments
from concertina.analyse.factored import MatrixWay, pairs_in
from concertina.analyse.grouped_embedding import GROUPED, group_table
from concertina.analyse.rewriting import WAYS, not_borne, rewritten_core
from concertina.errors import AnalysisError, InputError, did_you_mean
from concertina.types import Core, Rewrite

SMALLEST = 8
"""Least rank that a layer is factorised to; layers that allow less stay as they are."""
CONV = ("channel", "spatial")


@dataclass(frozen=True)
class Factorisation:
    """A network with layers written as two, and what that did to each."""

    core: Core
    """The network; `core.rewritten` says how."""
    kept: Mapping[str, float]
    """Path -> share of the layer's energy that the rank keeps, 0 to 1; embedding tables are not listed."""
    left: Mapping[str, str]
    """Path of a layer that stays as it is -> why."""


def factorize_core(
    core: Core,
    *,
    layers: Sequence[str] = (),
    conv: str = "spatial",
    energy: float = 0.0,
    tables: float = 0.0,
    batches: Iterable[Sequence[Tensor]] = (),
) -> Factorisation:
    """Return the core with linear layers and convolutions written as two, each at the rank where that costs the same.

    Ranks are sorted by what they add to the layer's outputs, so that fewer is a prefix.

    Args:
        core: The network; it is copied.
        layers: Paths of layers, or of modules with all layers inside; every layer where it pays unless said.
        conv: How convolutions are written: "spatial" or "channel".
        energy: Least share of a layer's energy (squared singular values) that its rank must keep, 0 to 1; layers that
            keep less stay as they are.
        tables: Share of their values to which embedding tables fall, in groups of words by frequency; 0 leaves them.
        batches: Inputs of the network, each a tuple of tensors (batch, ...): what a rank is worth then counts in
            outputs on them, and otherwise in weights.

    Raises:
        InputError: No such layer or way, or a share is out of range.
        AnalysisError: No layer can be written as two.

    Example:
        >>> from concertina.load import load
        >>> found = factorize_core(load("zoo:mlp"))
        >>> {path: how.rank for path, how in found.core.rewritten.items()}
        {'layers.0': 40, 'layers.1': 64, 'layers.2': 40}
    """
    _check(core, layers, conv, (energy, tables))
    chosen, left = _candidates(core, layers, conv, tables)
    moments = second_moments(core.module, chosen, batches)
    made: dict[str, nn.Module] = {}
    how, kept = dict(chosen), {}
    for path, each in chosen.items():
        layer = core.module.get_submodule(path)
        if isinstance(layer, nn.Embedding):
            counts = moments.get(path, torch.zeros(layer.num_embeddings))
            how[path], made[path] = group_table(layer, counts, tables)
            continue
        made[path], kept[path] = decomposed(layer, each, moments.get(path))
        if kept[path] < energy:
            left[path] = f"rank {each.rank} keeps {kept[path]:.0%} of its energy"
    made = {path: pair for path, pair in made.items() if path not in left}
    why = "the network uses its weight by other ways than calling it"
    left |= dict.fromkeys(not_borne(core, made, partial(_merged, core, made)), why)
    made = {path: pair for path, pair in made.items() if path not in left}
    if not made:
        reasons = "; ".join(f"{path}: {why}" for path, why in list(left.items())[:4]) or "it has no such layer"
        raise AnalysisError("no layer of this network can be factorised", asked=reasons)
    found = rewritten_core(core, made, how)
    return Factorisation(found, {path: kept[path] for path in made if path in kept}, left)


def _check(core: Core, layers: Sequence[str], conv: str, shares: tuple[float, float]) -> None:
    paths = [path for path, _ in core.module.named_modules() if path]
    if isinstance(layers, str):
        raise InputError("option layers", asked=repr(layers), allowed="a list of paths")
    for name in layers:
        if name not in paths:
            raise InputError("option layers", asked=repr(name), allowed="modules", do=did_you_mean(str(name), paths))
    if conv not in CONV:
        raise InputError("option conv", asked=repr(conv), allowed=", ".join(CONV))
    for option, share in zip(("energy", "tables"), shares, strict=True):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
            raise InputError(f"option {option}", asked=repr(share), allowed="0 to below 1")
    if pairs_in(core.module):
        raise InputError("a core to factorise", asked="one that is factorised", allowed="others")


def _candidates(
    core: Core, layers: Sequence[str], conv: str, tables: float
) -> tuple[dict[str, Rewrite], dict[str, str]]:
    """Return path -> way and rank of layers that can be written as two, and why those of a fitting kind cannot."""
    uses = Counter(id(parameter) for _, parameter in core.module.named_parameters(remove_duplicate=False))
    ways = ("linear", conv, *((GROUPED,) if tables else ()))
    chosen: dict[str, Rewrite] = {}
    left: dict[str, str] = {}
    for path, layer in core.module.named_modules(remove_duplicate=False):
        if layers and not any(path == name or path.startswith(f"{name}.") for name in layers):
            continue
        way = next((name for name in ways if WAYS.get(name)().fits(layer)), "")
        if not way:
            continue
        sides, rank = WAYS.get(way)().limits(layer), _break_even(layer, way)
        if uses[id(layer.weight)] > 1:
            left[path] = "its weight is shared"
        elif rank < SMALLEST or min(sides) < 2 * SMALLEST or (way == GROUPED and sides[0] < 2 * sides[1]):
            left[path] = f"with {sides[0]} times {sides[1]} values it is too small"
        else:
            chosen[path] = Rewrite(way, rank)
    return chosen, left


def _break_even(layer: nn.Module, way: str) -> int:
    """Return the largest rank at which two layers cost no more than the one, in whole eights above 16."""
    found = WAYS.get(way)()
    if not isinstance(found, MatrixWay):
        return min(found.limits(layer))
    whole, each = found.cost(layer)
    rank = min(int(whole / each), *found.limits(layer))
    return rank - rank % 8 if rank >= 16 else rank


def _merged(core: Core, made: Mapping[str, nn.Module], paths: Sequence[str]) -> nn.Module:
    """Return the network as it was, with the weights that pairs stand for."""
    whole = copy.deepcopy(core.module)
    with torch.no_grad():
        for path in paths:
            whole.get_submodule(path).weight.copy_(made[path].weight)  # type: ignore[operator, arg-type]
    return whole
