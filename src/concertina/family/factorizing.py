"""A core whose layers are written as two of lower rank, so that ranks are elastic beside widths and depth."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

from concertina.analyse.factorize import factorize_core
from concertina.analyse.split_attention import ATTENTION, with_split_attention
from concertina.errors import InputError, did_you_mean, some
from concertina.family.given import filled, taken
from concertina.family.options import task_of
from concertina.family.samples import sample_of
from concertina.load.data import batches
from concertina.objective.base import Task
from concertina.types import Core

log = logging.getLogger("concertina")

BATCH = 64
ENERGY = 0.6
"""Least share of a layer's energy that must stay, unless said."""


class FactorOptions(TypedDict, total=False):
    """Options of `factorize`."""

    layers: Sequence[str]
    """Paths of layers, or of modules with all layers inside; every layer where it pays unless said."""
    conv: str
    """How convolutions are written: "spatial" (columns, then rows: the default) or "channel" (filters, then 1x1)."""
    energy: float
    """Least share of a layer's energy that must stay; layers that would keep less are left alone. 0.6 unless said."""
    tables: float
    """Share of their values to which embedding tables fall, in groups of words by frequency, which data tells; 0, the
    default, leaves them alone."""
    samples: int
    """How many samples of the data are looked at; 512 unless said."""
    seed: int
    """Chooses the samples."""
    task: Task | None
    """What the network is for, where it is not the one registered under the core's task name."""


def factorize(core: Core, data: Any = None, **options: Unpack[FactorOptions]) -> Core:
    """Return a core whose linear layers and convolutions are written as two; their ranks become elastic in `fit`.

    Each layer falls to the rank at which the two cost what it cost, so that the network loses a little before training;
    `fit` lets the network as it was teach, and measures against it. Ranks, widths and blocks compose. Shares of MACs
    count from the factorised network, which costs at most what the core does; tables in groups add a little.

    Args:
        core: The network; it is copied.
        data: Data as `fit` takes it, with or without labels: what a rank is worth then counts in outputs on some of its
            samples. Without data it counts in weights, which keeps less.
        **options: See `FactorOptions`: layers=, conv="spatial", energy=0.6, tables=0, samples=512, seed=0, task=.

    Raises:
        InputError: No such option, layer or way, or a share is out of range.
        AnalysisError: No layer can be written as two.
        DataError: The data does not fit the network.

    Source: truncated and weighted decompositions, see `analyse.factorize`; trained at many ranks at once, so that
        truncation needs no tuning, in the manner of Trained Rank Pruning (arXiv:1812.02402).

    Example:
        >>> from concertina.load import load
        >>> core = factorize(load("zoo:mlp"))
        >>> core.rewritten["layers.0"].rank
        40
    """
    known = FactorOptions.__annotations__
    for name in options:
        if name not in known:
            raise InputError(
                "unknown option", asked=repr(name), allowed=", ".join(sorted(known)), do=did_you_mean(name, known)
            )
    samples = options.get("samples", 512)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise InputError("option samples", asked=repr(samples), allowed="1 or more")
    inputs = []
    if data is not None:
        task = options.get("task") or task_of(core, {})
        sample = sample_of(taken(data, core, task, labels=False), samples, options.get("seed", 0))
        inputs = [task.inputs(batch) for batch in batches(filled(sample, core, task), BATCH)]
    found = factorize_core(
        with_split_attention(core),
        layers=options.get("layers", ()),
        conv=options.get("conv", "spatial"),
        energy=options.get("energy", ENERGY),
        tables=options.get("tables", 0.0),
        batches=inputs,
    )
    if found.left:
        reasons = some([f"{path} ({why})" for path, why in found.left.items()], 4)
        log.info("layers that stay as they are: %s", reasons)
    return found.core


def facts_of_factors(core: Core) -> dict[str, str]:
    """Return for the provenance how layers were written as two."""
    pairs = [how.way for how in core.rewritten.values() if how.way != ATTENTION]
    return {"factorised": f"{len(pairs)} layers ({', '.join(sorted(set(pairs)))})"} if pairs else {}
