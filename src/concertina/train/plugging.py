"""Training of plugs: the core stays as it is, sizes of it are sampled, and one plug comes to fit them all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from concertina.errors import DataError, TrainingError
from concertina.modules.sparse import open_share
from concertina.nest import Supernet
from concertina.nest.plugged import Plug, with_plugs
from concertina.objective.base import Task
from concertina.train.calibrate import MOVING_STATISTICS
from concertina.train.loop import TrainingData
from concertina.train.recipes import largest_smallest_random
from concertina.train.schedule import step_seed


@dataclass(frozen=True)
class PlugSettings:
    """How a plug is trained; equal settings and data give equal results."""

    epochs: float = 3.0
    batch_size: int = 64
    learning_rate: float = 5e-3
    """Largest rate of AdamW; it rises over the first twentieth of the steps and falls as a cosine."""
    weight_decay: float = 0.01
    seed: int = 0


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
    settings: PlugSettings,
    progress: Callable[[str, float], None] | None = None,
) -> Trained:
    """Return plugs trained together on all operating points of a frozen core.

    Each step trains the largest, the smallest and a random point on one batch: all learn from the labels, and the
    smaller ones from the largest's answers too. Normalisation layers use the statistics of their batch.

    Args:
        supernet: The family; nothing of it changes.
        plugs: Where training starts.
        task: Gives inputs, loss and distance.
        data: Training samples.
        settings: How to train.
        progress: Told now and then where it stands.

    Raises:
        DataError: There are fewer than two samples.
        TrainingError: The loss is not finite.

    Source: sandwich rule and in-place distillation, Yu and Huang 2019 (arXiv:1903.05134).
    """
    if len(data) < 2:
        raise DataError("data to train a module on", asked=f"{len(data)} samples", allowed="2 or more")
    leaves = [{key: nn.Parameter(tensor.clone()) for key, tensor in plug.tensors.items()} for plug in plugs]
    live = [plug.with_tensors(held) for plug, held in zip(plugs, leaves, strict=True)]
    parameters = [leaf for held in leaves for leaf in held.values()]
    optimizer = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
    size = min(settings.batch_size, len(data))
    steps, draw = max(1, round(settings.epochs * len(data) / size)), largest_smallest_random(tuple(supernet.points), 1)
    spent = 0
    for position in range(steps):
        if progress is not None:
            progress("training the module", position / steps)
        generator = torch.Generator().manual_seed(step_seed(settings.seed, position, "module"))
        chosen = torch.randint(len(data), (size,), generator=generator)
        batch = task.augment(tuple(tensor[chosen] for tensor in data.tensors), generator)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _share_of_rate(position, steps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(settings.seed, position, "gates"))
            spent += _step(supernet, live, task, batch, draw(generator))
        _penalise(live)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    done = tuple(
        plug.with_tensors({key: leaf.detach() for key, leaf in held.items()})
        for plug, held in zip(plugs, leaves, strict=True)
    )
    return Trained(done, steps, spent)


def _step(supernet: Supernet, plugs: Sequence[Plug], task: Task, batch: Sequence[Tensor], points: Sequence[str]) -> int:
    """Run some points forward and backward, the largest first, and return the MACs of the passes."""
    teacher: Tensor | None = None
    spent = 0
    for name in points:
        point = supernet.points[name]
        subnet = with_plugs(supernet, point.spec, plugs, _apart(supernet, name), gradient=True).eval()
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


def _apart(supernet: Supernet, point: str) -> Mapping[str, Tensor]:
    """Return copies of what training writes to: the private tensors of a point, or the shared statistics."""
    held = supernet.private[point] or dict(supernet.module.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in held.items()}


def _penalise(plugs: Sequence[Plug]) -> None:
    """Add the gradient of what open gates cost."""
    for plug in plugs:
        gates = [tensor for key, tensor in plug.tensors.items() if key.endswith(":gate")]
        if gates and plug.options.get("penalty"):
            total = sum(gate.numel() for gate in gates)
            cost = sum((open_share(gate) * (gate.numel() / total) for gate in gates), start=torch.zeros(()))
            (plug.options["penalty"] * cost).backward()


def _share_of_rate(position: int, steps: int) -> float:
    rise = min(1.0, (position + 1) / max(1.0, 0.05 * steps))
    return rise * max(1e-3, 0.5 * (1 + math.cos(math.pi * position / steps)))
