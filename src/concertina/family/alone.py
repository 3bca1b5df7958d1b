"""One network trained by itself, with the means of a family: what a family has to be compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from concertina.family.finish import calibrate_points
from concertina.load.data import TensorData
from concertina.measure.cost import CostModel
from concertina.nest import Supernet
from concertina.objective.base import Task
from concertina.train import Reporter, Teacher, Trainer, TrainSettings, num_steps, train
from concertina.types import Core, GrowthOrder, Space

ONLY = "p100"
RECIPE = "sandwich"
"""With a single point it is plain training: each step trains that point."""


@dataclass(frozen=True)
class Training:
    """How a network is trained by itself."""

    data: TensorData
    task: Task
    settings: TrainSettings
    """With `full_from_core` it learns from the core's outputs beside the labels."""
    checkpoint: Path | None = None
    """File for the state of the run; training goes on from it if it is there."""


@dataclass(frozen=True, eq=False)
class TrainedAlone:
    """A network after training by itself, and the bill."""

    module: nn.Module
    training_macs: int
    """Multiply-accumulates of all passes, backward and teacher included."""
    seconds: float
    """Of all legs of the run, where it was interrupted."""


def trained_alone(
    module: nn.Module, core: Core, training: Training, *, progress: Reporter | None = None
) -> TrainedAlone:
    """Train a network by itself, taught by labels and core.

    Batches, augmentation, learning rates, distillation and final statistics are those that a family gets.

    Args:
        module: The network, such as a pruned core; it is trained in place.
        core: The core that it was made from.
        training: Data and settings.
        progress: Told now and then where the run stands.

    Raises:
        ResumeError: The checkpoint is damaged or belongs to another run.
        TrainingError: The loss is not finite.
    """
    family, settings, checkpoint = family_of_one(module, core), training.settings, training.checkpoint
    teacher = Teacher(core.module, CostModel.of(core.module, core.example_inputs, Space(())).full())
    steps = num_steps(training.data, settings)
    trainer = Trainer(family, training.task, steps=steps, recipe=RECIPE, settings=settings, teacher=teacher)
    resume = checkpoint is not None and checkpoint.exists()
    train(trainer, training.data, recipe=RECIPE, checkpoint=checkpoint, resume=resume, progress=progress)
    family.to("cpu")
    calibrate_points(family, training.task, training.data)
    return TrainedAlone(family.module.eval(), trainer.macs_spent, trainer.seconds_spent)


def family_of_one(module: nn.Module, core: Core) -> Supernet:
    """Return a network as a family of itself alone, over its own tensors.

    Args:
        module: The network.
        core: Tells what it is called with.
    """
    space = Space(())
    costs = CostModel.of(module, core.example_inputs, space)
    family = Supernet(module, GrowthOrder(space, ()), costs, {})
    family.add(family.point(ONLY, space.full, 0), {})
    return family
