"""Data without labels: the core's own answers stand in."""

from __future__ import annotations

from collections.abc import Callable

import torch

from concertina.errors import DataError
from concertina.load.data import ArrayData, TensorData, batches
from concertina.objective.base import Task
from concertina.types import Core

BATCH = 128


def labelled(
    core: Core,
    task: Task,
    data: TensorData,
    *,
    needed: bool,
    progress: Callable[[str, float], None] | None = None,
) -> TensorData:
    """Return `data` as it is when it has labels; otherwise with the core's answers in their place.

    The answers let criteria and samplers work as ever; a recipe that learns from labels must not be given them.

    Args:
        core: The network.
        task: Says how often a sample holds the network's inputs, and what outputs answer.
        data: Samples: the network's inputs, with or without a label at the end.
        needed: Whether true labels are needed.
        progress: Told now and then where the work stands.

    Raises:
        DataError: There are none and they are needed.
    """
    if task.own_labels or len(data.tensors) != task.sides * len(core.example_inputs):
        return data
    if needed:
        raise DataError(
            "the recipe learns from labels, and the data has none", do="Use the recipe 'label-free', or give labels."
        )
    tell, filler, found = progress or (lambda _stage, _done: None), torch.zeros(BATCH), []
    with torch.no_grad():
        for done, batch in enumerate(batches(data, BATCH)):
            tell("asking the core for answers", done * BATCH / len(data))
            found.append(task.answers(core.module(*task.inputs((*batch, filler[: len(batch[0])])))))
    answers = torch.cat(found)
    if len(data.tensors) == 1 and not answers.is_floating_point():
        return ArrayData((*data.tensors, answers), core.class_names)
    return TensorData((*data.tensors, answers), core.class_names)
