"""Training of plugs: the core stays as it is, sizes of it are sampled, and one plug comes to fit them all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from concertina.errors import TrainingError
from concertina.modules.sparse import open_share
from concertina.nest import Supernet
from concertina.nest.plugged import Plug, with_plugs
from concertina.objective.base import Task
from concertina.train.calibrate import MOVING_STATISTICS
from concertina.train.loop import TrainingData, num_steps
from concertina.train.rank_growth import RankGrowth
from concertina.train.recipes import Phase, largest_smallest_random
from concertina.train.schedule import Stretch, step_seed
from concertina.train.settings import TrainSettings


@dataclass(frozen=True)
class Trained:
    """What training came to."""

    plugs: tuple[Plug, ...]
    steps: int
    macs_spent: int
    """Multiply-accumulates of all passes of the core, backward included."""


def train_plugs(
    supernet: Supernet,
    plugs: Sequence[Plug],
    task: Task,
    data: TrainingData,
    settings: TrainSettings,
    progress: Callable[[str, float], None] | None = None,
) -> Trained:
    """Return plugs trained together on all operating points of a frozen core.

    Each step trains the largest, the smallest and a random point on one batch of samples drawn with replacement: all
    learn from the labels, and the smaller ones from the largest's answers too. Normalisation layers use the statistics
    of their batch. The optimizer is AdamW.

    Args:
        supernet: The family; nothing of it changes.
        plugs: Where training starts.
        task: Gives inputs, loss and distance.
        data: Training samples.
        settings: Epochs, batch size, learning rate and its warm-up, weight decay and seed; the rest is not asked.
        progress: Told now and then where it stands.

    Raises:
        DataError: There are fewer than two samples.
        TrainingError: The loss is not finite.

    Source: sandwich rule and in-place distillation, Yu and Huang 2019 (arXiv:1903.05134).
    """
    steps, size = num_steps(data, settings), min(settings.batch_size, len(data))
    stretch = Stretch(Phase("module", 1.0, largest_smallest_random(tuple(supernet.points), 1)), 0, steps)
    leaves = [{key: nn.Parameter(tensor.clone()) for key, tensor in plug.tensors.items()} for plug in plugs]
    live = [plug.with_tensors(held) for plug, held in zip(plugs, leaves, strict=True)]
    parameters = [leaf for held in leaves for leaf in held.values()]
    optimizer = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
    growth = [RankGrowth(plug, held, steps) for plug, held in zip(plugs, leaves, strict=True)]
    spent = 0
    for position in range(steps):
        if progress is not None:
            progress("training the module", position / steps)
        generator = torch.Generator().manual_seed(step_seed(settings.seed, position, "module"))
        chosen = torch.randint(len(data), (size,), generator=generator)
        batch = task.augment(tuple(tensor[chosen] for tensor in data.tensors), generator)
        for group in optimizer.param_groups:
            group["lr"] = stretch.rate(position, settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(settings.seed, position, "gates"))
            spent += _step(supernet, live, task, batch, stretch.phase.sample(generator))
        penalise_gates(live)
        for each in growth:
            each.before_step(position)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    done = [
        ranks.grown(plug.with_tensors({key: leaf.detach() for key, leaf in held.items()}))
        for plug, held, ranks in zip(plugs, leaves, growth, strict=True)
    ]
    return Trained(tuple(plug for grown in done for plug in grown), steps, spent)


def _step(supernet: Supernet, plugs: Sequence[Plug], task: Task, batch: Sequence[Tensor], points: Sequence[str]) -> int:
    """Run some points forward and backward, the largest first, and return the MACs of the passes."""
    teacher: Tensor | None = None
    spent = 0
    for name in points:
        point = supernet.points[name]
        subnet = with_plugs(supernet, point.spec, plugs, private_copies(supernet, name), gradient=True).eval()
        for layer in subnet.modules():
            if isinstance(layer, MOVING_STATISTICS):
                layer.train()
        outputs = subnet(*task.inputs(batch))
        loss = task.loss(outputs, batch)
        loss = loss if teacher is None else 0.5 * (loss + task.distill(outputs, teacher, batch))
        if not math.isfinite(float(loss.detach())):
            do = "Lower the learning rate, or check the data for NaN."
            raise TrainingError(f"the loss of a module is not finite at point {name!r}", do=do)
        loss.backward()
        teacher = outputs.detach() if teacher is None else teacher
        spent += 3 * point.macs * len(batch[-1])
    return spent


def private_copies(supernet: Supernet, point: str) -> Mapping[str, Tensor]:
    """Return copies of what training writes to: the private tensors of a point, or the shared statistics."""
    held = supernet.private[point] or dict(supernet.module.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in held.items()}


def penalise_gates(plugs: Sequence[Plug]) -> None:
    """Add the gradient of what open gates cost."""
    for plug in plugs:
        gates = [tensor for key, tensor in plug.tensors.items() if key.endswith(":gate")]
        if gates and plug.options.get("penalty"):
            total = sum(gate.numel() for gate in gates)
            cost = sum((open_share(gate) * (gate.numel() / total) for gate in gates), start=torch.zeros(()))
            (plug.options["penalty"] * cost).backward()
