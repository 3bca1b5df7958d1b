"""What can be made of a network before any training: how much is elastic, how small it gets, what training costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concertina.errors import InputError
from concertina.family.fit import DEFAULT_POINTS
from concertina.family.options import task_of, train_settings
from concertina.measure.cost import CostModel
from concertina.nest import Supernet, choose_points, nest
from concertina.objective import Classification
from concertina.objective.base import TASKS
from concertina.score import score
from concertina.train import Trainer
from concertina.train.loop import steps_per_epoch
from concertina.types import Core, Graph, Space

QUICK_S = 0.5
"""A pass that takes longer is timed once, and not on a larger batch."""
TIMED_BATCH = 32
"""Inputs in a timed pass: more of them are worked on faster, each by itself."""


@dataclass(frozen=True)
class Outlook:
    """What can be made of a network; costs are counted, the time is measured on a pass or two."""

    macs: int
    """Multiply-accumulates of the network for one input."""
    size_bytes: int
    elastic_parameters: float
    """Share of the parameters that follow an elastic group or block."""
    smallest_macs: int
    """MACs of the smallest subnet that runs."""
    smallest_bytes: int
    samples: int
    """Samples of the training foretold."""
    epochs: float
    training_macs: int | None
    """MACs of a training with the default options; None where there is none to foretell."""
    training_seconds: float | None
    """About how long that takes on this machine, without analysis and rehearsal."""


def outlook(core: Core, graph: Graph, *, samples: int = 10_000, epochs: float = 4.0) -> Outlook:
    """Return what can be made of a network, before any training.

    Args:
        core: The network.
        graph: Its groups and blocks, from `analyse`.
        samples: Training samples, 2 or more.
        epochs: Passes over them, 0 or more.

    Raises:
        InputError: There are fewer samples, or the epochs are out of range.
    """
    settings = train_settings({"epochs": epochs})
    if samples < 2:
        raise InputError("samples", asked=str(samples), allowed="2 or more")
    if not (graph.elastic_groups or graph.elastic_blocks):
        costs = CostModel.of(core.module, core.example_inputs, Space(()))
        macs, size = costs.macs({}), costs.size_bytes({})
        return Outlook(macs, size, 0.0, macs, size, samples, epochs, None, None)
    scores = score(core, graph, Classification(), [], criterion="magnitude-l2")
    supernet = nest(core, graph, scores, CostModel.of)
    space, price = supernet.space, supernet.costs
    training = _training_macs(core, supernet, samples, epochs)
    return Outlook(
        price.macs(space.full),
        price.size_bytes(space.full),
        _elastic_parameters(core, graph),
        price.macs(space.smallest),
        price.size_bytes(space.smallest),
        samples,
        settings.epochs,
        training,
        None if training is None else training / _macs_per_second(core, price.macs(space.full)),
    )


def _training_macs(core: Core, supernet: Supernet, samples: int, epochs: float) -> int | None:
    """Return the MACs of a training with the default options; None for a task that there is not, or without epochs."""
    if core.task not in TASKS or epochs <= 0:
        return None
    settings = train_settings({"epochs": epochs})
    smallest = supernet.costs.macs(supernet.space.smallest) / supernet.costs.macs(supernet.space.full)
    try:
        choose_points(supernet, [share for share in DEFAULT_POINTS if share >= smallest])
    except InputError:  # two of the default points are one in a network of so few sizes
        return None
    batch = min(settings.batch_size, samples)
    steps = max(1, round(epochs * steps_per_epoch(samples, settings.batch_size)))
    return Trainer(supernet, task_of(core, {}), steps=steps, settings=settings).expected_macs(batch)


def _elastic_parameters(core: Core, graph: Graph) -> float:
    members = {member.tensor for group in graph.elastic_groups for member in group.members}
    members |= {tensor for block in graph.elastic_blocks for tensor in block.tensors}
    sizes = {name: parameter.numel() for name, parameter in core.module.named_parameters()}
    return sum(size for name, size in sizes.items() if name in members) / max(1, sum(sizes.values()))


def _macs_per_second(core: Core, macs: int) -> float:
    """Return how fast this machine gets through forward passes of the core."""
    inputs = core.example_inputs
    seconds = min(_seconds(core, inputs), _seconds(core, inputs))
    if seconds < QUICK_S:
        times = -(-TIMED_BATCH // len(inputs[0]))
        inputs = tuple(torch.cat([tensor] * times) for tensor in inputs)
        seconds = min(_seconds(core, inputs), _seconds(core, inputs))
    return max(1, macs) * len(inputs[0]) / max(seconds, 1e-9)


def _seconds(core: Core, inputs: Sequence[Tensor]) -> float:
    started = time.perf_counter()
    with torch.no_grad():
        core.module(*inputs)
    return time.perf_counter() - started
