"""What a user gives as data: taken as tensors, and checked against the network and the task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from concertina.errors import DataError, some
from concertina.load.data import ArrayData, TensorData, as_data, check_fits
from concertina.objective.base import Task
from concertina.types import Core

log = logging.getLogger("concertina")

HEAD = 1024
"""Samples that the task looks at before anything slow is done."""


def taken(source: Any, core: Core, task: Task, *, labels: bool = True) -> TensorData:
    """Return data as tensors in memory that the network and the task can use.

    Args:
        source: What `as_data` takes: a torch Dataset, batches, or samples.
        core: The network.
        task: What it is for.
        labels: Whether samples must have a label; without, they may be the network's inputs alone.

    Raises:
        DataError: The data has another number of fields, other shapes, labels that are none, NaN, or no samples.
    """
    data = as_data(source, core.class_names)
    num_inputs = task.sides * len(core.example_inputs)
    has_labels = task.own_labels or len(data.tensors) > num_inputs
    if len(data.tensors) < num_inputs or (labels and not has_labels):
        raise _fields(data.tensors, num_inputs, task)
    check_fits(data, core)
    rows = _telling_rows(data.tensors[0])
    inputs = task.inputs([tensor[rows] for tensor in filled(data, core, task).tensors])
    if len(inputs) != len(core.example_inputs):
        raise _fields(data.tensors, num_inputs, task)
    _check_runs(inputs, core)
    if has_labels:
        task.check([tensor[:HEAD] for tensor in data.tensors])
    return data


def filled(data: TensorData, core: Core, task: Task) -> TensorData:
    """Return data with zeros where it has no labels, for passes that read none."""
    if task.own_labels or len(data.tensors) > task.sides * len(core.example_inputs):
        return data
    return TensorData((*data.tensors, torch.zeros(len(data))), data.class_names)


def check_augments(data: TensorData, task: Task) -> None:
    """Refuse data that the task's augmentation cannot take, before anything slow is done.

    Raises:
        DataError: The augmentation is for images, and the data holds none.
    """
    task.augment([tensor[:2] for tensor in data.tensors], torch.Generator().manual_seed(0))


def _telling_rows(inputs: Tensor) -> Tensor:
    """Return the numbers of two samples to try; of token ids (n, ...) one has the largest, maybe one too many."""
    rows = torch.arange(min(2, len(inputs)))
    if not inputs.is_floating_point() and len(inputs) > 1:
        rows[1] = int(inputs.reshape(len(inputs), -1).amax(dim=1).argmax())
    return rows


def _fields(fields: Sequence[Tensor], num_inputs: int, task: Task) -> DataError:
    inputs = "the network's input" if num_inputs == 1 else f"{num_inputs} inputs of the network"
    allowed = f"{num_inputs}: {inputs}" if task.own_labels else f"{num_inputs + 1}: {inputs}, then a label"
    return DataError("fields of a sample", asked=str(len(fields)), allowed=allowed)


def _check_runs(inputs: Sequence[Tensor], core: Core) -> None:
    try:
        with torch.no_grad():
            core.module(*inputs)
    except Exception as error:  # a user's forward may raise anything: it is reported as the cause
        given, wanted = (
            ", ".join(str(tuple(tensor.shape[1:])) for tensor in tensors) for tensors in (inputs, core.example_inputs)
        )
        said = str(error).split("\n")[0] or type(error).__name__
        raise DataError(
            "the network does not run on the data", asked=f"{given} each ({said})", allowed=wanted
        ) from error


def say_missing_classes(data: TensorData, core: Core, what: str) -> None:
    """Warn of classes that the data has no samples of: nothing can be learnt or measured of them.

    Args:
        data: Checked data.
        core: The network; its class names, or the number of its outputs, say which classes there are.
        what: What the data is for, to begin the sentence.
    """
    if not isinstance(data, ArrayData) or core.task != "classification":
        return
    with torch.no_grad():
        outputs = core.module(*core.example_inputs)
    names = core.class_names or tuple(map(str, range(outputs.shape[-1])))
    there = set(data.labels.unique().tolist())
    missing = [name for label, name in enumerate(names) if label not in there]
    if missing:
        log.warning("%s has no samples of %d of %d classes: %s", what, len(missing), len(names), some(missing))
