"""A short rehearsal on random subnets of the whole space, to see what each part is worth once the rest has adapted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from concertina.nest import Price, Supernet, num_measurements, random_spec, shrink_order
from concertina.objective.base import Task
from concertina.train.calibrate import MOVING_STATISTICS
from concertina.train.layout import laid_out, suits_channels_last
from concertina.train.loop import TrainingData
from concertina.train.schedule import step_seed
from concertina.train.settings import TrainSettings
from concertina.types import GrowthOrder, Space, SubnetSpec

STEPS = 240
"""Longest rehearsal; half an epoch or a tenth of the training, whatever is less, is enough too."""
SUBNETS = 3
"""Random subnets per step."""
REHEARSE_FROM = 200
"""Shortest training, in steps, that pays for a rehearsal of a tenth of its length."""
SAMPLES = 512
"""Most training samples on which a subnet's loss is measured."""
FEWEST_SAMPLES = 64
MEASURING_SHARE = 0.05
"""About how much of the training's passes all measuring together may take, as long as samples are not too few."""
MEASURE_BATCH = 256
JITTER = 0.5
"""How far a dim's share may lie from its subnet's, from end to end."""

Lesson = tuple[Sequence[Tensor], Tensor]
"""An augmented batch and the core's answers to it."""


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal found, and what it cost."""

    order: GrowthOrder
    macs_spent: int
    """Multiply-accumulates of all its passes, measuring included."""


def rehearsed_order(
    supernet: Supernet,
    task: Task,
    data: TrainingData,
    settings: TrainSettings,
    progress: Callable[[str, float], None] | None = None,
    price: Price | None = None,
) -> Rehearsed:
    """Return the growth order measured on a copy of the supernet after a short training of random subnets.

    In a network never trained to do without them, skipping a block or most of its channels costs far more than after a
    little training, and by amounts that foretell little: what looks most needed may be learnt back first. So a copy is
    trained for a short while on random subnets of the whole space to give the core's answers; then `shrink_order` takes
    it apart. The supernet itself is not changed. Needs no labels.

    Args:
        supernet: Sorted, not yet trained.
        task: Gives inputs, augmentation and the distance to the core's answers.
        data: Training samples.
        settings: How the training to come will be; without epochs the core is taken apart as it is.
        progress: Told now and then where it stands.
        price: What a spec takes up; its MACs unless said.

    Source: random subnets of one supernet, Cai et al. 2020 (arXiv:1908.09791); measured shrinking, see `shrink_order`.
    """
    tell = progress or (lambda _stage, _done: None)
    rehearsal = _Rehearsal(supernet, task, settings)
    size = min(settings.batch_size, len(data))
    per_epoch = len(data) / size
    steps = int(min(STEPS, per_epoch / 2, settings.epochs * per_epoch / 10))
    for position in range(steps):
        tell("rehearsing random subnets", position / steps)
        generator = torch.Generator().manual_seed(step_seed(settings.seed, position, "rehearsal"))
        chosen = torch.randint(len(data), (size,), generator=generator)
        rate = settings.learning_rate * min(1.0, 6 * (position + 1) / steps) * (1 - 0.9 * position / steps)
        rehearsal.step(tuple(tensor[chosen] for tensor in data.tensors), rate, generator)
    generator = torch.Generator().manual_seed(step_seed(settings.seed, steps, "rehearsal"))
    count = _samples_for(supernet.space, settings.epochs * len(data))
    sample = torch.randperm(len(data), generator=generator)[:count]
    seen = [
        rehearsal.taught(tuple(t[ids] for t in data.tensors), generator) for ids in sample.split(128) if len(ids) > 1
    ]
    order = shrink_order(
        supernet.space,
        price or supernet.costs.macs,
        lambda spec: rehearsal.loss_of(spec, seen),
        lambda done: tell("measuring what can go", done),
    )
    return Rehearsed(order, rehearsal.macs_spent)


def _samples_for(space: Space, trained: float) -> int:
    """Return how many samples to measure on where a training sees so many, each in about six passes of the core."""
    affordable = MEASURING_SHARE * 6 * trained / (0.5 * num_measurements(space))
    return int(min(SAMPLES, max(FEWEST_SAMPLES, affordable)))


class _Rehearsal:
    """A copy of a supernet in training on random subnets, each normalising by its own batches."""

    def __init__(self, supernet: Supernet, task: Task, settings: TrainSettings) -> None:
        module = copy.deepcopy(supernet.module).to(settings.device)
        self._supernet = Supernet(module, supernet.order, supernet.costs, supernet.permutations)
        self._teacher = copy.deepcopy(module).eval().requires_grad_(False)
        self._task, self._settings = task, settings
        self.macs_spent = 0
        self._channels_last = suits_channels_last(module)
        parameters = [p for p in module.parameters() if p.is_floating_point() and p.requires_grad]
        self._optimizer = torch.optim.SGD(parameters, settings.learning_rate, momentum=0.9, nesterov=True)

    def step(self, batch: Sequence[Tensor], rate: float, generator: torch.Generator) -> None:
        """Train a few random subnets on one batch."""
        lesson = self.taught(batch, generator)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for _ in range(SUBNETS):
            spec = random_spec(self._supernet.space, generator, spread=JITTER)
            self._losses(spec, [lesson])[0].backward()
            self._count(spec, 2 * len(batch[-1]))
        nn.utils.clip_grad_norm_(self._supernet.module.parameters(), 10.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def taught(self, batch: Sequence[Tensor], generator: torch.Generator) -> Lesson:
        """Return an augmented batch with the core's answers to it."""
        seen = tuple(tensor.to(self._settings.device) for tensor in self._task.augment(batch, generator))
        self._count(self._supernet.space.full, len(seen[-1]))
        with torch.no_grad(), self._autocast():
            return seen, self._teacher(*self._inputs(seen)).float()

    def loss_of(self, spec: SubnetSpec, seen: Sequence[Lesson]) -> float:
        """Return the mean distance of a subnet's answers to the core's."""
        with torch.no_grad():
            return float(torch.stack(self._losses(spec, seen)).mean())

    def _losses(self, spec: SubnetSpec, lessons: Sequence[Lesson]) -> list[Tensor]:
        subnet = self._supernet.subnet(spec, gradient=True).eval()
        for layer in subnet.modules():
            if isinstance(layer, MOVING_STATISTICS):
                layer.train()
        losses = []
        for batch, answers in lessons:
            with self._autocast():
                outputs = subnet(*self._inputs(batch))
            losses.append(self._task.distill(outputs.float(), answers, batch))
            self._count(spec, len(batch[-1]))
        return losses

    def _count(self, spec: SubnetSpec, samples: int) -> None:
        self.macs_spent += samples * self._supernet.costs.macs(spec)

    def _inputs(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return laid_out(self._task.inputs(batch), channels_last=self._channels_last)

    def _autocast(self) -> torch.autocast:
        kind = torch.device(self._settings.device).type
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self._settings.dtype == "bfloat16")
