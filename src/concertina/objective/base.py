"""The Task: what a network is for, and how it is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from concertina.errors import DataError
from concertina.registry import Registry
from concertina.types import Record


@dataclass(frozen=True)
class Metric:
    """The figure a task is judged by."""

    name: str
    direction: Literal["max", "min"]
    unit: str = "share"


class Task(ABC):
    """What a network is for: how a batch enters it, what is lost, how it is judged.

    A batch is a tuple of tensors as the data gives them; (batch, ...) is the shape of each.
    """

    name: str
    metric: Metric
    class_names: tuple[str, ...] = ()
    augmentation: str = "none"
    """Name of what `augment` does, among `AUGMENTATIONS`; a family's file tells it to whoever calibrates later."""
    sides: int = 1
    """How many times a sample holds the network's inputs: 2 for pairs."""
    own_labels: bool = False
    """Whether samples are the network's inputs alone, which are their own labels: each token is foretold by others."""
    class_weights: tuple[float, ...] = ()
    """How much samples of each class count in training; none: all alike."""
    outputs: tuple[int, ...] = ()
    """Sizes to which the network's output may be cut, falling; none: it stays whole."""

    @abstractmethod
    def inputs(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return what the network is called with."""

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Return the scalar training loss of `outputs` against the batch's labels."""

    @abstractmethod
    def distill(self, outputs: Tensor, teacher: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Return the scalar distance between `outputs` and a teacher's outputs, shape (batch, ...)."""

    @abstractmethod
    def augment(self, batch: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return the batch as training sees it; all randomness comes from `generator`."""

    @abstractmethod
    def observe(self, outputs: Tensor, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return per-unit-of-evaluation rows, each of shape (units,), that `summarise` needs."""

    @abstractmethod
    def summarise(self, rows: Mapping[str, Tensor]) -> list[Record]:
        """Return the figures of all rows together; `spec` and `data` are filled in by the caller."""

    def answers(self, outputs: Tensor) -> Tensor:
        """Return what outputs say in the place of labels, (batch,): for data that has none.

        Raises:
            DataError: The task has no such answers.
        """
        raise DataError(f"task {self.name!r} cannot do without labels", asked=f"outputs {tuple(outputs.shape)} alone")

    @abstractmethod
    def check(self, batch: Sequence[Tensor]) -> None:
        """Raise `DataError` for a batch that this task cannot use (labels out of range, NaN ...)."""


TASKS: Registry[type[Task]] = Registry("task")
