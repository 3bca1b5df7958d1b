"""Options of `fit`, and what they become."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from concertina.errors import InputError
from concertina.objective.base import TASKS, Task
from concertina.train import TrainSettings
from concertina.types import Core


class FitOptions(TypedDict, total=False):
    """Options of `fit` beyond data and points; the fields of `TrainSettings`, and how to get there."""

    recipe: str
    criterion: str
    task: Task
    augment: str
    epochs: float
    batch_size: int
    learning_rate: float
    seed: int
    device: str
    dtype: str
    optimizer: str
    weight_decay: float
    distill_weight: float
    full_from_core: float
    shrink_share: float
    clip_norm: float
    average: float
    checkpoint: str | Path
    """File for the state of the run, so that it survives being killed."""
    resume: bool
    """Go on from the checkpoint."""


def task_of(core: Core, options: FitOptions) -> Task:
    """Return the task given, or the one the core was trained for, with the augmentation asked for or its own."""
    given = options.get("task")
    if given is not None:
        return given
    augment = options.get("augment", core.augment)
    return TASKS.get(core.task)(core.class_names, core.preprocess, augment=augment)  # type: ignore[call-arg]


def train_settings(options: FitOptions) -> TrainSettings:
    """Return the training settings among the options.

    Raises:
        InputError: A value is out of range or of the wrong kind.
    """
    names = TrainSettings.__dataclass_fields__
    settings = TrainSettings(**{key: value for key, value in options.items() if key in names})  # type: ignore[arg-type]
    checks = (
        ("epochs", settings.epochs >= 0, "0 or more"),
        ("batch_size", settings.batch_size >= 2, "2 or more"),
        ("learning_rate", 0 < settings.learning_rate < 100, "above 0"),
        ("dtype", settings.dtype in ("float32", "bfloat16"), "float32, bfloat16"),
        ("optimizer", settings.optimizer in ("sgd", "adamw"), "sgd, adamw"),
        ("weight_decay", settings.weight_decay >= 0, "0 or more"),
        ("distill_weight", settings.distill_weight >= 0, "0 or more"),
        ("full_from_core", settings.full_from_core >= 0, "0 or more"),
        ("shrink_share", 0 <= settings.shrink_share < 1, "0 to below 1"),
        ("clip_norm", settings.clip_norm >= 0, "0 (no limit) or more"),
        ("average", 0 <= settings.average < 1, "0 to below 1"),
    )
    for name, good, allowed in checks:
        if not good:
            raise InputError(f"option {name}", asked=repr(getattr(settings, name)), allowed=allowed)
    return settings
