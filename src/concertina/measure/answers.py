"""What one network answers to labelled samples: the rows that every audit reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from concertina.errors import DataError
from concertina.measure.mode import evaluation_mode
from concertina.objective.base import Task


@dataclass(frozen=True, eq=False)
class Answers:
    """The logits of one network, and what would have been right."""

    spec: str
    """Canonical text of the subnet; "core" for the core."""
    logits: Tensor
    """(samples, classes) float64."""
    labels: Tensor
    """(samples,) int64."""
    class_names: tuple[str, ...]
    """One name a class, in the order of the logits."""

    @cached_property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, (samples, classes)."""
        return self.logits.softmax(dim=1)

    @cached_property
    def predictions(self) -> Tensor:
        """The likeliest class of each sample, (samples,) int64."""
        return self.logits.argmax(dim=1)

    @cached_property
    def correct(self) -> Tensor:
        """Whether the likeliest class is the right one, (samples,) bool."""
        return self.predictions == self.labels

    @property
    def present(self) -> tuple[int, ...]:
        """Numbers of the classes that have samples, rising."""
        return tuple(self.labels.unique().tolist())


def answers(
    module: nn.Module,
    task: Task,
    batches: Iterable[Sequence[Tensor]],
    *,
    spec: str,
    class_names: Sequence[str] = (),
) -> Answers:
    """Run a classifier over labelled batches in inference mode and keep what it answers.

    Args:
        module: The network; its mode is as before afterwards.
        task: Gives inputs and checks labels.
        batches: Batches of any sizes: inputs, then labels (batch,) int64.
        spec: Canonical text of the subnet.
        class_names: Names in the order of the outputs; classes are numbered without.

    Raises:
        DataError: There is no batch, the task refuses one, or outputs are no rows of finite logits.
    """
    logits, labels = [], []
    with evaluation_mode(module), torch.inference_mode():
        for number, batch in enumerate(batches):
            task.check(batch)
            outputs = module(*task.inputs(batch))
            _check_logits(outputs, number)
            logits.append(outputs.double())
            labels.append(batch[-1])
    if not logits:
        raise DataError("audit", asked="no batch", do="Give data with one sample at least.")
    rows = torch.cat(logits).clone()
    return Answers(spec, rows, torch.cat(labels).clone(), _names(class_names, rows.shape[1]))


def _names(given: Sequence[str], classes: int) -> tuple[str, ...]:
    return tuple(given[i] if i < len(given) else str(i) for i in range(classes))


def _check_logits(outputs: object, number: int) -> None:
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or not outputs.is_floating_point():
        shape = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise DataError("outputs of a classifier", asked=shape, allowed="(batch, classes) of logits")
    if not bool(outputs.isfinite().all()):
        raise DataError(
            f"outputs of the network on batch {number} are NaN or infinite", do="Check the weights and the inputs."
        )
