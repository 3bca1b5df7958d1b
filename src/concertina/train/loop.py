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
from concertina.load import fingerprint
from concertina.train.checkpoint import Rhythm, read_checkpoint, write_checkpoint
from concertina.train.schedule import step_seed
from concertina.train.settings import TrainSettings
from concertina.train.trainer import Trainer


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
"""Takes what is being done now and the share of it that is done, 0 to 1.

What is done as soon as it is first told of is a remark: "going on at step 400 of 1,000", 1.0.
"""


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
        data: Training samples; the same in each of several processes.
        recipe: Name of the trainer's recipe, for the checkpoint.
        checkpoint: File for the state of the run; None keeps none. Of several processes the first reads and writes it.
        resume: Go on from the checkpoint if it is there; the results are those of a run never stopped.
        progress: Told what all steps will cost before the first of them, and where the run stands now and then.

    Raises:
        ResumeError: The checkpoint is damaged or belongs to another run.
        TrainingError: The loss is not finite, or processes differ in what they are to train.
        RankError: Another process failed.
    """
    ranks = trainer.ranks
    tell = progress if progress is not None and ranks.first else _tell_nobody
    batch_size = min(len(data), trainer.settings.batch_size)
    per_epoch = steps_per_epoch(len(data), batch_size)
    keeper = _Keeper(trainer, checkpoint, describe_run(trainer, data, recipe))
    ranks.agree("what they are to train", keeper.run)
    if resume:
        keeper.go_on(tell)
    tell(cost_in_words(trainer, batch_size), 1.0)
    rhythm = Rhythm(keeper.keep)
    with _interrupts() as interrupted:
        while trainer.position < trainer.num_steps:
            begun = time.monotonic()
            epoch, place = divmod(trainer.position, per_epoch)
            order = _shuffled(len(data), trainer.settings.seed, epoch)
            phase = trainer.phase.name
            chosen = order[place * batch_size : (place + 1) * batch_size]
            keeper.losses.append(trainer.step(tuple(tensor[chosen] for tensor in data.tensors)))
            tell(f"training ({phase})", trainer.position / trainer.num_steps)
            stop, due = ranks.any([interrupted(), rhythm.is_due])
            if stop or due:
                rhythm.write(at_once=True)
            trainer.seconds_spent += time.monotonic() - begun
            if stop:
                raise KeyboardInterrupt("stopped between two steps")
    keeper.keep()
    return keeper.losses


def cost_in_words(trainer: Trainer, batch_size: int) -> str:
    """Return how many steps there will be and what they cost, before the first of them."""
    macs = trainer.expected_macs(batch_size)
    return f"{trainer.num_steps:,} training steps will cost {macs:.3g} MACs (backward and teacher passes included)"


class _Keeper:
    """Keeps the state of a run in its checkpoint, and goes back to it."""

    def __init__(self, trainer: Trainer, path: Path | None, run: Mapping[str, object]) -> None:
        self._trainer, self._path = trainer, path
        self.run = run
        """What makes this run this run."""
        self.losses: list[float] = []

    def keep(self) -> None:
        """Write the checkpoint, where one is wanted; whole tensors are gathered of all processes."""
        if self._path is None:
            return
        trainer, tensors = self._trainer, self._trainer.state()
        state = {name: getattr(trainer, name) for name in ("position", "macs_spent", "seconds_spent")}
        if trainer.ranks.first:
            more = {"losses": self.losses, "processes": trainer.ranks.count}
            write_checkpoint(self._path, tensors, self.run, state | more)
        trainer.ranks.wait()

    def go_on(self, tell: Reporter) -> None:
        """Go back to the state that the checkpoint holds, if there is one; with any number of processes."""
        trainer, path = self._trainer, self._path
        if path is None or not trainer.ranks.told(path.exists):
            tell(f"no checkpoint at {self._path}: starting anew", 1.0)
            return
        tensors, state = self._read(path)
        trainer.load_state(tensors, position=_whole(state, "position"), macs_spent=_whole(state, "macs_spent"))
        trainer.seconds_spent += float(state["seconds_spent"])  # type: ignore[arg-type]
        self.losses = [float(loss) for loss in state["losses"]]  # type: ignore[attr-defined]
        tell(f"going on at step {trainer.position:,} of {trainer.num_steps:,}", 1.0)
        before, now = state.get("processes", 1), trainer.ranks.count
        if before != now:
            tell(f"begun by {before} processes, goes on with {now}: batch norms see parts of other sizes", 1.0)

    def _read(self, path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return what the checkpoint holds, read by the first process and handed on to all."""
        ranks = self._trainer.ranks
        tensors, state = read_checkpoint(path, self.run) if ranks.first else ({}, {})
        kinds, state = ranks.told(lambda: [{n: [t.shape, str(t.dtype)] for n, t in tensors.items()}, state])
        if not ranks.first:
            tensors = {n: torch.empty(shape, dtype=_dtype(kind)) for n, (shape, kind) in kinds.items()}
        ranks.hand_out(tensors.values())
        return tensors, state


def _dtype(written: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, written.removeprefix("torch."))
    return found


def _tell_nobody(_stage: str, _done: float) -> None:
    """Report nothing."""


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Hold back Ctrl-C until the step under way is whole, so that the checkpoint is; a second one stops at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, _frame: object) -> None:
        """Note the first interruption; the second stops at once."""
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


def describe_run(trainer: Trainer, data: TrainingData, recipe: str) -> Mapping[str, object]:
    """Return what two runs must share for one to go on where the other stopped."""
    supernet = trainer.supernet
    return {
        **asdict(trainer.settings),
        "recipe": recipe,
        "steps": trainer.num_steps,
        "points": [f"{point.name} {point.spec.digest}" for point in supernet.points.values()],
        "data": data.fingerprint,
        "augment": trainer.task.augmentation,
        **({"class weights": list(trainer.task.class_weights)} if trainer.task.class_weights else {}),
        "order": hash_of(supernet.order.steps),
        "core": fingerprint(trainer.teacher.module),
        "network": fingerprint(supernet.module),
    }


def hash_of(values: Sequence[int]) -> str:
    """Return a short digest of a sequence of integers."""
    return f"{step_seed(0, 0, ','.join(map(str, values))):014x}"


def _shuffled(num_samples: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(num_samples, generator=torch.Generator().manual_seed(step_seed(seed, epoch, "epoch")))


def _whole(state: Mapping[str, object], key: str) -> int:
    return int(state[key])  # type: ignore[call-overload]
