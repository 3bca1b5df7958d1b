"""Data without labels: the core's own answers stand in."""

from __future__ import annotations

import torch

from concertina.errors import DataError
from concertina.load.data import ArrayData, TensorData, batches
from concertina.objective.base import Task
from concertina.types import Core

BATCH = 128


def labelled(core: Core, task: Task, data: TensorData, *, needed: bool) -> TensorData:
    """Return `data` as it is when it has labels; otherwise with the core's answers in their place.

    The answers let criteria and samplers work as ever; a recipe that learns from labels must not be given them.

    Args:
        core: The network.
        task: Says how often a sample holds the network's inputs, and what outputs answer.
        data: Samples: the network's inputs, with or without a label at the end.
        needed: Whether true labels are needed.

    Raises:
        DataError: There are none and they are needed.
    """
    if len(data.tensors) != task.sides * len(core.example_inputs):
        return data
    if needed:
        raise DataError(
            "the recipe learns from labels, and the data has none", do="Use the recipe 'label-free', or give labels."
        )
    filler = torch.zeros(BATCH)
    with torch.no_grad():
        answers = torch.cat(
            [
                task.answers(core.module(*task.inputs((*batch, filler[: len(batch[0])]))))
                for batch in batches(data, BATCH)
            ]
        )
    if len(data.tensors) == 1 and not answers.is_floating_point():
        return ArrayData((*data.tensors, answers), core.class_names)
    return TensorData((*data.tensors, answers), core.class_names)
