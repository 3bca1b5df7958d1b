"""One training step after another over a family: usable inside any loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from concertina.errors import DataError, TrainingError
from concertina.nest import Supernet, named_tensors
from concertina.objective.base import Task
from concertina.train.average import Average
from concertina.train.layout import laid_out, suits_channels_last
from concertina.train.passes import Passes
from concertina.train.plan import (
    StepPlan,
    check_room,
    check_teachers,
    forecast,
    plan_step,
    step_generator,
)
from concertina.train.press import left_out, press
from concertina.train.ranks import Ranks
from concertina.train.recipes import RECIPES, Lesson, Phase
from concertina.train.schedule import Stretch, step_seed, stretches
from concertina.train.settings import TrainSettings
from concertina.train.shards import Holder, holder_of


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network whose outputs points may learn from."""

    module: nn.Module
    macs: int
    """Multiply-accumulates of one forward pass for one input."""


class Trainer:
    """Trains the points of a supernet step by step.

    In a process group (`torch.distributed`) all processes train one family: each is given the whole batch, runs its
    part of it through the same subnets, and holds its share of the optimizer's state.

    Args:
        supernet: The family; its shared and private tensors are changed in place.
        task: Gives inputs, losses and augmentation.
        steps: How many steps there will be in all; phases and learning rate follow from it.
        recipe: Name in `RECIPES`.
        settings: How to train.
        teacher: What teaches in the core's place; the core as it is sorted in the supernet unless said.

    Raises:
        UnknownNameError: No such recipe.
        TrainingError: There are fewer steps than the recipe has phases.
        InputError: The settings leave the recipe without its only teacher, or it has no room for random specs.

    Source: sandwich rule and in-place distillation, arXiv:1903.05134.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        *,
        steps: int,
        recipe: str = "sandwich",
        settings: TrainSettings | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.supernet, self.task, self.num_steps, self.recipe = supernet, task, steps, recipe
        self.settings = settings or TrainSettings()
        check_room(recipe, self.settings)
        self.ranks = Ranks.here()
        """The processes that train together."""
        self.position = 0
        """Steps done."""
        self.macs_spent = 0
        """Multiply-accumulates of all passes so far, backward and teacher included, of all processes together."""
        self.seconds_spent = 0.0
        """Seconds of the run so far, those of its earlier, interrupted legs included; `train` counts them."""
        self._stretches = self._laid_out()
        check_teachers(recipe, self._stretches, self.settings)
        supernet.to(self.settings.device)
        chosen = teacher or Teacher(supernet.module, supernet.costs.macs(supernet.space.full))
        module = copy.deepcopy(chosen.module).to(self.settings.device).eval().requires_grad_(False)
        self.teacher = Teacher(module, chosen.macs)
        """The frozen core, or what teaches in its place; a copy."""
        self._channels_last = suits_channels_last(supernet.module)
        self._passes = Passes(supernet)
        self._optimizer: torch.optim.Optimizer | None = None
        self._holder: Holder | None = None
        self._average: Average | None = None
        self._frozen: list[tuple[Tensor, Tensor]] = []
        self._pressed: list[tuple[Tensor, Tensor]] = []
        self._entered = -1

    @property
    def phase(self) -> Phase:
        """The phase of the next step."""
        return self._stretches[self._index()].phase

    def _laid_out(self) -> list[Stretch]:
        return stretches(RECIPES.get(self.recipe)().phases(tuple(self.supernet.points), 1.0), self.num_steps)

    def expected_macs(self, samples: int | None = None) -> int:
        """Return what `macs_spent` will be after all steps: forward, backward and teacher passes.

        Args:
            samples: Samples in a batch; the settings' batch size unless said.
        """
        inputs = self.task.sides * (samples or self.settings.batch_size)
        return inputs * forecast(self._laid_out(), self.supernet, self.teacher.macs, self.settings)

    def trainables(self) -> dict[str, nn.Parameter]:
        """Return every trainable parameter by a stable name: shared ones, then private ones per point."""
        found = {f"shared.{name}": p for name, p in self.supernet.module.named_parameters() if p.is_floating_point()}
        for point, tensors in self.supernet.private.items():
            for name, tensor in tensors.items():
                if isinstance(tensor, nn.Parameter):
                    found[f"private.{point}.{name}"] = tensor
        return found

    def step(self, batch: Sequence[Tensor]) -> float:
        """Train on one batch and return the first (largest) subnet's loss.

        Args:
            batch: A tuple of tensors of shape (batch, ...), as the task takes it; not augmented, and whole in each of
                several processes.

        Raises:
            DataError: The batch has one sample only, or the task refuses it.
            InputError: There are not two samples for each process.
            TrainingError: The loss is not finite, or all steps are done.
            RankError: Another process failed.
        """
        self._check(batch)
        self._enter()
        stretch = self._stretches[self._entered]
        generator = step_generator(self.settings, self.position)
        plan = plan_step(stretch, self.position, self.supernet, self.settings, generator)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(self.settings.seed, self.position, _each("dropout", self.ranks)))
            losses = self._run_passes(plan, self.task.augment(batch, generator))
        self._refuse_infinite(plan, losses)
        self.ranks.mean(self._statistics(plan.points))
        self._update(stretch, plan.points)
        self.position += 1
        if self._average is not None:
            self._average.update(self.position - stretch.start)
            if self.position == stretch.stop:
                self._average.install()
        return losses[0]

    def _check(self, batch: Sequence[Tensor]) -> None:
        if self.position >= self.num_steps:
            raise TrainingError("all steps are done", asked=f"step {self.position + 1}", allowed=f"{self.num_steps}")
        if len(batch[-1]) < 2:
            raise DataError("a training batch needs two samples or more", asked="1", do="Drop the last, short batch.")
        self.ranks.check_batch(len(batch[-1]))
        self.task.check(batch)

    def _run_passes(self, plan: StepPlan, batch: Sequence[Tensor]) -> list[float]:
        """Run forward and backward through each subnet and return their losses; gradients lie on the trainables."""
        total, share = len(batch[-1]), self.ranks.share(len(batch[-1]))
        batch = tuple(tensor[share].to(self.settings.device) for tensor in batch)
        weight = len(batch[-1]) / total
        inputs = laid_out(self.task.inputs(batch), channels_last=self._channels_last)
        samples = len(inputs[0]) * total // len(batch[-1])
        core = self._teach(inputs) if plan.asks_core else None
        self.macs_spent += plan.macs(self.supernet, self.teacher.macs) * samples
        full: Tensor | None = None
        losses = []
        for subject, lesson in plan.subjects:
            built = self._passes.of(subject) if isinstance(subject, str) else self._passes.at(subject)
            with self._autocast():
                outputs = built.module(*inputs)
            outputs = outputs.float()
            loss = self._loss(lesson, outputs, batch, (full, core))
            full = outputs.detach() if full is None else full
            losses.append(loss.detach() * weight)
            (loss * (weight * self.ranks.count)).backward()
            self._passes.collect(built)
        return self.ranks.sum(torch.stack(losses).tolist())

    def _loss(
        self, lesson: Lesson, outputs: Tensor, batch: Sequence[Tensor], teachers: tuple[Tensor | None, Tensor | None]
    ) -> Tensor:
        loss = outputs.new_zeros(())
        if lesson.labels:
            loss = loss + lesson.labels * self.task.loss(outputs, batch)
        for weight, teacher in zip((lesson.full, lesson.core), teachers, strict=True):
            if weight and teacher is not None:
                loss = loss + weight * self.task.distill(outputs, teacher, batch)
        return loss

    def _refuse_infinite(self, plan: StepPlan, losses: list[float]) -> None:
        for (subject, _), loss in zip(plan.subjects, losses, strict=True):
            if not math.isfinite(loss):
                self.supernet.module.zero_grad()
                name = f"point {subject!r}" if isinstance(subject, str) else f"random spec {subject.digest}"
                raise TrainingError(
                    f"the loss of {name} is not finite at step {self.position}",
                    do="Lower the learning rate, or check the data for NaN.",
                )

    def _teach(self, inputs: tuple[Tensor, ...]) -> Tensor:
        with torch.no_grad(), self._autocast():
            return self.teacher.module(*inputs).float()

    def _autocast(self) -> torch.autocast:
        kind = torch.device(self.settings.device).type
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.settings.dtype == "bfloat16")

    def _update(self, stretch: Stretch, names: tuple[str, ...]) -> None:
        if self._optimizer is None or self._holder is None:
            return
        rate = stretch.rate(self.position, self.settings)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._holder.receive()
        if self.settings.clip_norm > 0:
            self._holder.clip(self.settings.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._holder.publish()
        largest = max(names, key=lambda name: self.supernet.points[name].macs)
        with torch.no_grad():
            for matrix in self._passes.of(largest).matrices:
                matrix.mul_(1 - rate * self.settings.weight_decay)
            press(self._pressed, stretch.press(self.position))
            for view, kept in self._frozen:
                view.copy_(kept)

    def _index(self) -> int:
        for i, stretch in enumerate(self._stretches):
            if self.position < stretch.stop:
                return i
        return len(self._stretches) - 1

    def _enter(self) -> None:
        """Start the phase of the next step, unless it is under way: a new optimizer, and what it must not touch."""
        index = self._index()
        if index == self._entered:
            return
        self._entered = index
        self._holder = holder_of(self.trainables(), self.ranks)
        parameters = list(self._holder.parameters.values())
        if self.settings.optimizer == "adamw":
            self._optimizer = torch.optim.AdamW(parameters, self.settings.learning_rate, weight_decay=0.0)
        else:
            self._optimizer = torch.optim.SGD(parameters, self.settings.learning_rate, momentum=0.9, nesterov=True)
        phase = self._stretches[index].phase
        views = self._passes.shared(phase.frozen) if phase.frozen else []
        self._frozen = [(view, view.clone()) for view in views]
        self._pressed = left_out(self.supernet) if phase.press else []
        if self.settings.average:
            self._average = Average(self._tensors(), self.settings.average)

    def _tensors(self) -> dict[str, Tensor]:
        """Return every shared and private tensor by a stable name."""
        found = {f"shared.{name}": t.detach() for name, t in named_tensors(self.supernet.module).items()}
        for point, private in self.supernet.private.items():
            found |= {f"private.{point}.{name}": tensor.detach() for name, tensor in private.items()}
        return found

    def state(self) -> dict[str, Tensor]:
        """Return all that the next steps depend on, as tensors by name: weights, buffers, averages, optimizer.

        All tensors are whole, however many processes there are; all of them must ask at the same time.
        """
        tensors = self._tensors()
        if self._average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self._average.values.items()}
        for name, parameter in self._holder.parameters.items() if self._holder else ():
            for key, value in (self._optimizer.state.get(parameter, {}) if self._optimizer else {}).items():
                if value is not None and self._holder:
                    tensors[f"optimizer.{key}.{name}"] = self._holder.whole(name, torch.as_tensor(value).detach())
        return tensors

    def _statistics(self, points: Sequence[str]) -> list[Tensor]:
        """Return what the passes of points note of their batches."""
        shared = dict(self.supernet.module.named_buffers())
        kept = (self.supernet.private[point] or shared for point in points)
        found = [t for tensors in kept for t in tensors.values() if not isinstance(t, nn.Parameter)]
        return [tensor for tensor in found if tensor.is_floating_point()]

    def load_state(self, tensors: dict[str, Tensor], *, position: int, macs_spent: int) -> None:
        """Go back to a state that `state` gave, after `position` steps."""
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(tensors[name])
        self.position, self.macs_spent, self._entered = position, macs_spent, -1
        if any(position == stretch.start for stretch in self._stretches) or position >= self.num_steps:
            return
        self._enter()
        for name, value in (self._average.values if self._average else {}).items():
            value.copy_(tensors[f"average.{name}"])
        for name, parameter in self._holder.parameters.items() if self._holder else ():
            for key in ("momentum_buffer", "exp_avg", "exp_avg_sq", "step"):
                stored = tensors.get(f"optimizer.{key}.{name}")
                if stored is not None and self._optimizer is not None and self._holder is not None:
                    self._optimizer.state[parameter][key] = self._holder.part(name, stored)


def _each(use: str, ranks: Ranks) -> str:
    """Return what a process's own random numbers are for; those of the first are those of a process by itself."""
    return use if ranks.first else f"{use} of process {ranks.rank}"
