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
    *,
    rehearsals: int = 1,
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
        rehearsals: How often to rehearse: again whenever half of what was there is gone, from the core's weights and
            within what is left.

    Source: random subnets of one supernet, Cai et al. 2020 (arXiv:1908.09791); measured shrinking, see `shrink_order`;
    several rehearsals: pruning in rounds with rewound weights, Frankle and Carbin 2019 (arXiv:1803.03635).
    """
    tell = progress or (lambda _stage, _done: None)
    space, takes_up = supernet.space, price or supernet.costs.macs
    rehearsal = _Rehearsal(supernet, task, data, settings, tell)
    rehearsal.run(space.full)
    seen = rehearsal.lessons(_samples_for(space, settings.epochs * len(data)))

    def turned(left: SubnetSpec) -> None:
        """Rehearse again once half of what was there is gone."""
        if rehearsal.runs < rehearsals and takes_up(left) <= takes_up(space.full) / 2**rehearsal.runs:
            rehearsal.run(left)

    order = shrink_order(
        space,
        takes_up,
        lambda spec: rehearsal.loss_of(spec, seen),
        lambda gone: tell("measuring what can go", gone),
        turned,
    )
    return Rehearsed(order, rehearsal.macs_spent)


def _samples_for(space: Space, trained: float) -> int:
    """Return how many samples to measure on where a training sees so many, each in about six passes of the core."""
    affordable = MEASURING_SHARE * 6 * trained / (0.5 * num_measurements(space))
    return int(min(SAMPLES, max(FEWEST_SAMPLES, affordable)))


class _Rehearsal:
    """A copy of a supernet in training on random subnets, each normalising by its own batches."""

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        data: TrainingData,
        settings: TrainSettings,
        tell: Callable[[str, float], None],
    ) -> None:
        module = copy.deepcopy(supernet.module).to(settings.device)
        self._supernet = Supernet(module, supernet.order, supernet.costs, supernet.permutations)
        self._teacher = copy.deepcopy(module).eval().requires_grad_(False)
        self._task, self._data, self._settings, self._tell = task, data, settings, tell
        self._size = min(settings.batch_size, len(data))
        per_epoch = len(data) / self._size
        self._steps = int(min(STEPS, per_epoch / 2, settings.epochs * per_epoch / 10))
        self._channels_last = suits_channels_last(module)
        self.macs_spent = self.runs = 0

    def run(self, within: SubnetSpec) -> None:
        """Train random subnets, none larger than `within`, from the core's weights."""
        module, use = self._supernet.module, "rehearsal" if not self.runs else f"rehearsal {self.runs + 1}"
        module.load_state_dict(self._teacher.state_dict())
        trained = [p for p in module.parameters() if p.is_floating_point() and p.requires_grad]
        optimizer = torch.optim.SGD(trained, self._settings.learning_rate, momentum=0.9, nesterov=True)
        for position in range(self._steps):
            self._tell("rehearsing random subnets", position / self._steps)
            generator = torch.Generator().manual_seed(step_seed(self._settings.seed, position, use))
            chosen = torch.randint(len(self._data), (self._size,), generator=generator)
            batch = tuple(tensor[chosen] for tensor in self._data.tensors)
            done = position / self._steps
            rate = self._settings.learning_rate * min(1.0, 6 * (position + 1) / self._steps) * (1 - 0.9 * done)
            self._step(batch, optimizer, rate, generator, within)
        self.runs += 1

    def _step(
        self,
        batch: Sequence[Tensor],
        optimizer: torch.optim.Optimizer,
        rate: float,
        generator: torch.Generator,
        within: SubnetSpec,
    ) -> None:
        lesson = self.taught(batch, generator)
        for group in optimizer.param_groups:
            group["lr"] = rate
        for _ in range(SUBNETS):
            spec = random_spec(self._supernet.space, generator, spread=JITTER, within=within)
            self._losses(spec, [lesson])[0].backward()
            self._count(spec, 2 * len(batch[-1]))
        nn.utils.clip_grad_norm_(self._supernet.module.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def lessons(self, count: int) -> list[Lesson]:
        """Return up to `count` training samples in batches, to measure subnets on."""
        generator = torch.Generator().manual_seed(step_seed(self._settings.seed, self._steps, "rehearsal"))
        sample = torch.randperm(len(self._data), generator=generator)[:count]
        parts = (tuple(t[ids] for t in self._data.tensors) for ids in sample.split(128) if len(ids) > 1)
        return [self.taught(part, generator) for part in parts]

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
