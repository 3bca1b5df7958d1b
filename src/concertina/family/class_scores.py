"""Scores by class: made at the end of a fit, held with the family, and kept in its file with 8 bits a score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concertina.errors import DataError, InputError, ShapeError, some
from concertina.family.class_order import free_copy
from concertina.load.data import ArrayData, TensorData, batches
from concertina.nest import Supernet, graph_of
from concertina.objective.base import Task
from concertina.save import strict
from concertina.score import check_by_class, score_classes
from concertina.train import Reporter
from concertina.types import ClassScores, Core, Graph

MOST_SAMPLES, ALL_SAMPLES, FEWEST = 128, 16384, 8
"""Samples of a class that are looked at: up to the first, or fewer so that all classes together take the second."""
BATCH = 32
MAX_SCORES = 2**23
"""Most scores of a family: bytes of them in its file, before compression."""
LEVELS = 255
KEYS = ("criterion", "is_loss", "samples", "data", "groups", "blocks")


def check_class_scores(core: Core, graph: Graph, data: TensorData, criterion: str) -> None:
    """Refuse to rate by class what cannot be, before anything slow is done.

    Raises:
        InputError: The criterion reads no data, the network is no classifier with named classes, or there would be
            more than `MAX_SCORES` scores.
        DataError: The data has no labels, or no samples of a class.
    """
    check_by_class(criterion)
    names, units = core.class_names, sum(group.units for group in graph.elastic_groups)
    if core.task != "classification" or not names:
        asked = f"a network for {core.task}" if core.task != "classification" else "a network without class names"
        raise InputError("scores by class", asked=asked, allowed="classifiers", do="Give class_names= to load.")
    if len(names) * units > MAX_SCORES:
        asked = f"{len(names):,} classes of {units:,} units"
        raise InputError("scores by class", asked=asked, allowed=f"{MAX_SCORES:,} scores in all")
    if not isinstance(data, ArrayData):
        raise DataError("scores by class need samples with a class each", asked=f"{len(data.tensors)} fields")
    check_samples(data, names)


def check_samples(data: ArrayData, names: Sequence[str], where: str = "classes without samples") -> None:
    """Refuse data in which a class has no samples.

    Raises:
        DataError: The text names such classes, and how many samples there are.
    """
    counts = torch.bincount(data.labels, minlength=len(names)).tolist()
    missing = [name for name, count in zip(names, counts, strict=False) if not count]
    if missing:
        there = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=False) if count)
        raise DataError(f"{where}: {some(missing)}", asked=some(there.split(", "), 20), allowed="one or more of each")


def rate_classes(
    core: Core,
    supernet: Supernet,
    task: Task,
    data: ArrayData,
    *,
    criterion: str,
    seed: int,
    progress: Reporter | None = None,
) -> ClassScores:
    """Return scores of a family's full point by each class that has samples, its units in the family's order.

    Args:
        core: The core's facts; its class names are those of the labels.
        supernet: The family, trained and calibrated.
        task: Gives inputs and loss.
        data: Training data, labelled by the core's classes.
        criterion: Name of a criterion that reads data.
        seed: Seed for the choice of samples and for the criterion.
        progress: Told now and then where it stands.
    """
    generator = torch.Generator().manual_seed(seed)
    most = max(FEWEST, min(MOST_SAMPLES, ALL_SAMPLES // len(core.class_names)))
    order = torch.randperm(len(data), generator=generator)
    samples = {
        name: list(batches(data.subset(order[data.labels[order] == label][:most]), BATCH))
        for label, name in enumerate(core.class_names)
        if bool((data.labels == label).any())
    }
    whole = replace(core, module=free_copy(supernet))
    graph = graph_of(supernet.space)
    found = score_classes(whole, graph, task, samples, criterion=criterion, seed=seed, progress=progress)
    return replace(found, data_fingerprint=data.fingerprint)


def to_table(scores: ClassScores) -> dict[str, Any]:
    """Return scores as plain data and arrays: 8 bits a score, with one scale for each group and class.

    A score comes back within 1/510 of the largest of its group and class.
    """
    return {
        "criterion": scores.criterion,
        "is_loss": scores.is_loss,
        "samples": scores.samples,
        "data": scores.data_fingerprint,
        "groups": {name: list(_packed(rows)) for name, rows in scores.units.items()},
        "blocks": {path: rises.float().numpy() for path, rises in scores.blocks.items()},
    }


def from_table(table: object, core: Core, supernet: Supernet) -> ClassScores:
    """Return the scores of a file's table.

    Raises:
        HeaderError, ShapeError: It does not hold what the format says, or does not fit the family.
    """
    where = "class scores"
    found, names, graph = strict.table(table, where, KEYS), core.class_names, graph_of(supernet.space)
    groups, blocks = (strict.table(found[key], f"{where} {key}") for key in ("groups", "blocks"))
    _check_names(groups, [group.name for group in graph.elastic_groups], f"{where} groups")
    _check_names(blocks, [block.path for block in graph.elastic_blocks], f"{where} blocks", whole=False)
    units = {}
    for group in graph.elastic_groups:
        levels, scales = strict.listing(groups[group.name], f"{where} of {group.name!r}", 2, 2)
        at = f"{where} of {group.name!r}"
        levels = _array(levels, at, np.uint8, (len(names), group.units))
        units[group.name] = levels * (_array(scales, at, np.float32, (len(names),))[:, None] / LEVELS)
    rises = {path: _array(values, f"{where} of {path!r}", np.float32, (len(names),)) for path, values in blocks.items()}
    if not isinstance(found["is_loss"], bool):
        strict.refuse(f"{where} is_loss", found["is_loss"], "true or false")
    return ClassScores(
        strict.name(found["criterion"], f"{where} criterion"),
        names,
        units,
        rises,
        found["is_loss"],
        strict.integer(found["samples"], f"{where} samples"),
        strict.free_text(found["data"], f"{where} data"),
    )


def _packed(rows: Tensor) -> tuple[Any, Any]:
    """Return levels (classes, units) of uint8 and scales (classes,) of float32."""
    rows = rows.detach().double().clamp_min(0)
    scales = rows.amax(1)
    levels = (rows / scales.clamp_min(1e-300)[:, None] * LEVELS).round().to(torch.uint8)
    return levels.numpy(), scales.float().numpy()


def _array(value: object, where: str, dtype: type[np.generic], shape: tuple[int, ...]) -> Tensor:
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise ShapeError(where, asked=found, allowed=f"{np.dtype(dtype)} {list(shape)}")
    if not all(map(math.isfinite, value.reshape(-1).tolist() if dtype is np.float32 else ())):
        strict.refuse_words(where, "numbers that are not finite", "finite numbers")
    return torch.from_numpy(value)


def _check_names(table: Mapping[str, object], names: Sequence[str], where: str, *, whole: bool = True) -> None:
    if not set(table) <= set(names) or (whole and set(table) != set(names)):
        strict.refuse(where, sorted(table), f"those of the family: {strict.brief(sorted(names))}")
