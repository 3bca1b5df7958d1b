"""Classes that count more than others: their weights in training, and promises once the family is there."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from concertina.audits import GUARANTEES
from concertina.errors import DataError, InputError, some
from concertina.family.family import Family
from concertina.family.held_out import class_place
from concertina.family.options import BALANCED, FitOptions
from concertina.family.promises import check_samples
from concertina.load.data import TensorData
from concertina.objective import Classification
from concertina.objective.base import Task
from concertina.train import Reporter
from concertina.types import Core

PROTECTED_WEIGHT = 4.0
"""What a sample of a protected class counts, where others count 1 (docs/classes.md has the study)."""
METHOD = "binomial"


def check_protection(core: Core, options: FitOptions, *, validation: bool) -> None:
    """Refuse weights and bounds that cannot be used, before anything slow is done.

    Args:
        core: The network.
        options: May have protect, class_weights and balanced.
        validation: Whether there is held-out data.

    Raises:
        InputError: The network is no classifier with names, a value is out of range, or there is no held-out data.
        UnknownNameError: There is no such class.
    """
    asked = [name for name in ("protect", "class_weights", "balanced") if options.get(name)]
    if not asked:
        return
    if core.task != "classification" or not isinstance(options.get("task"), Classification | None):
        raise InputError(f"option {asked[0]}", asked=f"a network for {core.task}", allowed="classifiers")
    given = options.get("task")
    if asked != [BALANCED] and isinstance(given, Classification) and given.class_weights:
        raise InputError(f"option {asked[0]}", asked="with a task that has class weights", allowed="one of both")
    if not core.class_names and asked != [BALANCED]:
        raise InputError(f"option {asked[0]}", asked="a network without class names", do="Give class_names= to load.")
    for name, named in (("class_weights", options.get("class_weights")), ("protect", options.get("protect"))):
        for class_name in named if isinstance(named, Mapping) else ():
            class_place(class_name, core.class_names, f"option {name}")
    if options.get("protect") and not validation:
        do = "Give labelled data that training does not see."
        raise InputError("option protect", asked="no validation data", allowed="together with it", do=do)


def check_supported(options: FitOptions, core: Core, held: TensorData | None, points: int) -> None:
    """Refuse bounds that the held-out data cannot support, before anything slow is done.

    Args:
        options: May have protect.
        core: The network.
        held: The held-out data.
        points: How many operating points there will be.

    Raises:
        DataError: There are too few samples of a class.
    """
    bounds = options.get("protect")
    if bounds and held is not None:
        statements = len(bounds) * points
        check_samples(held.tensors[-1], core.class_names, bounds, GUARANTEES.get(METHOD)(), statements)


def check_unseen(options: FitOptions, held: TensorData | None, train: TensorData) -> None:
    """Refuse promises on data that training sees, before it does.

    Args:
        options: May have protect.
        held: The held-out data.
        train: The training data.

    Raises:
        DataError: They are the same, or some classes of the same.
    """
    if not options.get("protect") or held is None:
        return
    if held.fingerprint in (train.fingerprint, train.origin) or held.origin == train.fingerprint:
        do = "Give data that training does not see."
        raise DataError("a promise cannot rest on the training data", asked=held.label, do=do)


def weighted(task: Task, core: Core, options: FitOptions, data: TensorData) -> tuple[Task, dict[str, str]]:
    """Return the task with the weights asked for, which are 1 on average over the data, and a note of them.

    Args:
        task: The task.
        core: The network.
        options: May have protect and class_weights.
        data: Training data, with labels (or the core's answers in their place).
    """
    given, protect = options.get("class_weights"), options.get("protect") or {}
    if not isinstance(task, Classification) or not (given or protect):
        return task, {}
    names = core.class_names
    counts = data.tensors[-1].bincount(minlength=len(names)).double()
    weights = torch.ones_like(counts)
    if given == BALANCED:
        weights = torch.where(counts > 0, 1 / counts.clamp_min(1), 1 / counts.sum())
    weights *= torch.tensor([PROTECTED_WEIGHT if name in protect else 1.0 for name in names])
    for name, weight in given.items() if isinstance(given, Mapping) else ():
        weights[names.index(name)] = float(weight)
    weights = weights / (weights * counts).sum() * counts.sum()
    chosen = copy.copy(task)
    chosen.class_weights = tuple(weights.tolist())
    said = [f"{name} {weight:.3g}" for name, weight in zip(names, chosen.class_weights, strict=True)]
    return chosen, {"class weights": some(said, len(said))}


def promised(family: Family, options: FitOptions, held: TensorData | None, progress: Reporter | None) -> None:
    """Find the thresholds that hold the bounds asked for, on every point, and keep them with the family.

    Args:
        family: Trained and measured.
        options: May have protect.
        held: Data that training has not seen.
        progress: Told now and then where the work stands.
    """
    bounds: Any = options.get("protect")
    if bounds and held is not None:
        family.promise(bounds, held, method=METHOD, progress=progress)
