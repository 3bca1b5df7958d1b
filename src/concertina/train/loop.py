"""The loop around the trainer: shuffles, checkpoints, and says how long it will take."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from concertina.errors import DataError
from concertina.nest import Supernet
from concertina.train.checkpoint import read_checkpoint, write_checkpoint
from concertina.train.schedule import step_seed
from concertina.train.settings import TrainSettings
from concertina.train.trainer import Trainer

CHECKPOINT_EVERY_S = 30.0


class TrainingData(Protocol):
    """Samples held as tensors; `load.data.TensorData` is one."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """One tensor per field of a batch, each (n, ...)."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all tensors."""

    def __len__(self) -> int:
        """Return the number of samples."""


Reporter = Callable[[str, float], None]
"""Takes what is being done now and the share of it that is done, 0 to 1."""


def train(
    trainer: Trainer,
    data: TrainingData,
    *,
    recipe: str,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Reporter | None = None,
) -> list[float]:
    """Carry out all steps of a trainer and return the losses of the largest subnet, one a step.

    Args:
        trainer: Made with `steps=num_steps(data, settings)`.
        data: Training samples.
        recipe: Name of the trainer's recipe, for the checkpoint.
        checkpoint: File for the state of the run; None keeps none.
        resume: Go on from the checkpoint if it is there; the results are those of a run never stopped.
        progress: Told now and then where the run stands.

    Raises:
        ResumeError: The checkpoint belongs to another run.
        TrainingError: The loss is not finite.
    """
    settings = trainer.settings
    run = describe_run(trainer.supernet, data, settings, recipe)
    losses: list[float] = []
    if checkpoint is not None and resume and checkpoint.exists():
        tensors, state = read_checkpoint(checkpoint, run)
        trainer.load_state(tensors, position=_whole(state, "position"), macs_spent=_whole(state, "macs_spent"))
        losses = [float(loss) for loss in state["losses"]]  # type: ignore[attr-defined]

    def keep() -> None:
        if checkpoint is not None:
            where = {"position": trainer.position, "macs_spent": trainer.macs_spent, "losses": losses}
            write_checkpoint(checkpoint, trainer.state(), run, where)

    per_epoch = steps_per_epoch(len(data), settings.batch_size)
    saved = time.monotonic()
    with _interrupts() as interrupted:
        while trainer.position < trainer.num_steps:
            epoch, place = divmod(trainer.position, per_epoch)
            order = _shuffled(len(data), settings.seed, epoch)
            phase = trainer.phase.name
            chosen = order[place * settings.batch_size : (place + 1) * settings.batch_size]
            losses.append(trainer.step(tuple(tensor[chosen] for tensor in data.tensors)))
            now = time.monotonic()
            if progress is not None:
                progress(f"training ({phase})", trainer.position / trainer.num_steps)
            if now - saved > CHECKPOINT_EVERY_S or interrupted():
                keep()
                saved = time.monotonic()
            if interrupted():
                raise KeyboardInterrupt("stopped between two steps")
    keep()
    return losses


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Hold back Ctrl-C until the step under way is whole, so that the checkpoint is; a second one stops at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, _frame: object) -> None:
        if caught:
            raise KeyboardInterrupt("stopped at once")
        caught.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(caught)
    finally:
        signal.signal(signal.SIGINT, before)


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Return how many full batches an epoch has; a set smaller than a batch gives one.

    Raises:
        DataError: There are fewer than two samples.
    """
    if num_samples < 2:
        raise DataError("training needs two samples or more", asked=str(num_samples))
    return max(1, num_samples // batch_size)


def num_steps(data: TrainingData, settings: TrainSettings) -> int:
    """Return how many steps `settings.epochs` passes over the data take."""
    return max(1, round(settings.epochs * steps_per_epoch(len(data), settings.batch_size)))


def describe_run(supernet: Supernet, data: TrainingData, settings: TrainSettings, recipe: str) -> Mapping[str, object]:
    """Return what two runs must share for one to go on where the other stopped."""
    return {
        **asdict(settings),
        "recipe": recipe,
        "points": [f"{point.name} {point.spec.digest}" for point in supernet.points.values()],
        "data": data.fingerprint,
        "order": hash_of(supernet.order.steps),
    }


def hash_of(values: Sequence[int]) -> str:
    """Return a short digest of a sequence of integers."""
    return f"{step_seed(0, 0, ','.join(map(str, values))):014x}"


def _shuffled(num_samples: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(num_samples, generator=torch.Generator().manual_seed(step_seed(seed, epoch, "epoch")))


def _whole(state: Mapping[str, object], key: str) -> int:
    return int(state[key])  # type: ignore[call-overload]
