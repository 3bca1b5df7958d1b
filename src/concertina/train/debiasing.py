"""Training of modules that take an attribute out: the task goes on, and the representation forgets, at every size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from concertina.errors import TrainingError
from concertina.nest import Supernet
from concertina.nest.plugged import Plug, with_plugs
from concertina.objective.base import Task
from concertina.objective.removal import REMOVALS, Removal
from concertina.train.calibrate import MOVING_STATISTICS
from concertina.train.loop import TrainingData, num_steps
from concertina.train.plugging import Trained, penalise_gates, private_copies
from concertina.train.recipes import Phase, largest_smallest_random
from concertina.train.schedule import Stretch, step_seed
from concertina.train.settings import TrainSettings

RISE_SHARE = 0.2
"""Share of the steps over which the removal comes in."""

GATES_FASTER = 5.0
"""Learning rate of gates, in those of the differences."""


@dataclass(frozen=True, eq=False)
class Removed:
    """What is to be forgotten, and how."""

    layer: str
    """Path of the layer whose input is the representation."""
    attribute: Tensor
    """Number of each training sample's value, (n,) int64; -1 where it does not count."""
    ways: Mapping[str, float]
    """Names in `REMOVALS` -> weight beside the task's loss."""
    under: Sequence[Plug] = ()
    """What else is plugged in, below the module."""

    @property
    def values(self) -> int:
        """How many values the attribute has."""
        return int(self.attribute.max()) + 1


def train_debiasing(
    supernet: Supernet,
    plug: Plug,
    task: Task,
    data: TrainingData,
    removed: Sequence[Removed],
    settings: TrainSettings,
    progress: Callable[[str, float], None] | None = None,
) -> Trained:
    """Return a plug trained on all operating points of a frozen core to keep the task and to forget attributes.

    Each step trains the largest, the smallest and a random point on samples drawn with replacement: half of them as
    they come, for the task, and for each attribute half with all of its values equally often, for its removal.

    Args:
        supernet: The family; nothing of it changes.
        plug: Where training starts.
        task: Gives inputs, loss and distance.
        data: Training samples.
        removed: What is to be forgotten; steps take them in turn, so that the module fits each of them.
        settings: As for `train_plugs`.
        progress: Told now and then where it stands.

    Raises:
        DataError: There are fewer than two samples.
        TrainingError: The loss is not finite.

    Source: Hauzenberger et al., modular debiasing by sparse subnetworks (arXiv:2205.15171).
    """
    steps, size = num_steps(data, settings), min(settings.batch_size, len(data))
    stretch = Stretch(Phase("module", 1.0, largest_smallest_random(tuple(supernet.points), 1)), 0, steps)
    leaves = {key: nn.Parameter(tensor.clone()) for key, tensor in plug.tensors.items()}
    live = plug.with_tensors(leaves)
    optimizer = _optimizer(leaves, settings)
    run = _Run(supernet, task, data, settings.seed)
    for position in range(steps):
        if progress is not None:
            progress("training the module", position / steps)
        generator = torch.Generator().manual_seed(step_seed(settings.seed, position, "attribute"))
        for group in optimizer.param_groups:
            group["lr"] = stretch.rate(position, settings) * group["times"]
        turn = removed[position % len(removed)]
        force = min(1.0, (position + 1) / max(1.0, RISE_SHARE * steps))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(settings.seed, position, "gates"))
            run.step([*turn.under, live], turn, stretch.phase.sample(generator), size, force, generator)
        penalise_gates([live])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return Trained((plug.with_tensors({key: leaf.detach() for key, leaf in leaves.items()}),), steps, run.macs_spent)


def _optimizer(leaves: Mapping[str, nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Return AdamW; gates have a long way to go and go faster, without decay."""
    gates = [leaf for key, leaf in leaves.items() if key.endswith(":gate")]
    others = [leaf for key, leaf in leaves.items() if not key.endswith(":gate")]
    groups = [
        {"params": others, "times": 1.0, "weight_decay": settings.weight_decay},
        {"params": gates, "times": GATES_FASTER, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], settings.learning_rate)


class _Run:
    """What lasts over the steps: the ways of removal, one of each for every point and attribute."""

    def __init__(self, supernet: Supernet, task: Task, data: TrainingData, seed: int) -> None:
        self.supernet, self.task, self.data, self.seed = supernet, task, data, seed
        self.macs_spent = 0
        self._ways: dict[tuple[str, str, int], Removal] = {}

    def step(
        self,
        plugs: Sequence[Plug],
        removed: Removed,
        points: Sequence[str],
        size: int,
        force: float,
        generator: torch.Generator,
    ) -> None:
        """Run some points forward and backward, the largest first."""
        plain = torch.randint(len(self.data), (size,), generator=generator)
        even = evenly(removed.attribute, size, generator)
        chosen = torch.cat([plain, even])
        batch = self.task.augment(tuple(tensor[chosen] for tensor in self.data.tensors), generator)
        labelled, attribute = tuple(tensor[:size] for tensor in batch), removed.attribute[even]
        teacher: Tensor | None = None
        for name in points:
            subnet = with_plugs(
                self.supernet,
                self.supernet.points[name].spec,
                plugs,
                private_copies(self.supernet, name),
                gradient=True,
            ).eval()
            for layer in subnet.modules():
                if isinstance(layer, MOVING_STATISTICS):
                    layer.train()
            with representation_of(subnet, removed.layer) as seen:
                outputs = subnet(*self.task.inputs(batch))[:size]
            loss = self.task.loss(outputs, labelled)
            loss = loss if teacher is None else 0.5 * (loss + self.task.distill(outputs, teacher, labelled))
            for way, weight in removed.ways.items():
                loss = loss + force * weight * self._way(way, name, removed, seen[0]).loss(seen[0][size:], attribute)
            if not math.isfinite(float(loss.detach())):
                do = "Lower the learning rate, or check the data for NaN."
                raise TrainingError(f"the loss of a module is not finite at point {name!r}", do=do)
            loss.backward()
            teacher = outputs.detach() if teacher is None else teacher
            self.macs_spent += 3 * self.supernet.points[name].macs * len(chosen)

    def _way(self, way: str, point: str, removed: Removed, seen: Tensor) -> Removal:
        key = (way, point, id(removed))
        if key not in self._ways:
            self._ways[key] = REMOVALS.get(way)(seen.shape[1], removed.values, self.seed)
        return self._ways[key]


@contextmanager
def representation_of(subnet: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Catch what a layer reads, one tensor (n, features) a pass; positions of a sequence are averaged.

    Args:
        subnet: The network.
        layer: Path of the layer.
    """
    seen: list[Tensor] = []

    def catch(_layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        """Keep what the layer reads."""
        x = arguments[0]
        seen.append(x.flatten(1) if x.dim() < 3 else x.flatten(1, -2).mean(1))

    handle = subnet.get_submodule(layer).register_forward_pre_hook(catch)
    try:
        yield seen
    finally:
        handle.remove()


def evenly(attribute: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the numbers of samples (count,) drawn with replacement, each value of the attribute equally often.

    Args:
        attribute: Number of each sample's value, (n,) int64; those of -1 are never drawn.
        count: How many.
        generator: Source of the draws.

    Example:
        >>> attribute = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, -1])
        >>> attribute[evenly(attribute, 6, torch.Generator())].tolist()
        [0, 1, 0, 1, 0, 1]
    """
    order = attribute.sort(stable=True).indices
    counts = torch.bincount(attribute[attribute >= 0])
    starts = int((attribute < 0).sum()) + counts.cumsum(0) - counts
    value = torch.arange(count) % len(counts)
    return order[starts[value] + (torch.rand(count, generator=generator) * counts[value]).long()]
