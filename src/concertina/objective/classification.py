"""The classification task: one class per sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from concertina.errors import DataError, InputError
from concertina.objective.augment import AUGMENTATIONS, black
from concertina.objective.base import TASKS, Metric, Task
from concertina.objective.distances import DISTANCES
from concertina.objective.intervals import mean_interval, wilson
from concertina.types import Preprocess, Record


@TASKS.register("classification", source="ours")
class Classification(Task):
    """One class per sample: a batch is (inputs (batch, ...), labels (batch,) int64).

    Args:
        class_names: Class names in the order of the outputs; empty to number them.
        preprocess: What the inputs went through, so that augmentation fills in what was black.
        augment: Name of the augmentation.
        distance: Name of the distance that distillation minimises.
        temperature: Temperature of the distance.
        label_smoothing: Share of each label that is spread over all classes (0 to below 1).
        class_weights: How much samples of each class count in training, in the order of the outputs, above 0; none:
            all alike. They enter loss and distillation, and by these the scores of criteria that read the loss.

    Raises:
        UnknownNameError: No such augmentation or distance.
        InputError: Temperature, label smoothing or a weight is out of range, or there is not one weight for each class.
    """

    name = "classification"
    metric = Metric("accuracy", "max")

    def __init__(
        self,
        class_names: Sequence[str] = (),
        preprocess: Preprocess = Preprocess(),  # noqa: B008 - frozen value
        *,
        augment: str = "none",
        distance: str = "kl",
        temperature: float = 1.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
    ) -> None:
        if not temperature > 0:
            raise InputError("temperature of distillation", asked=str(temperature), allowed="above 0")
        if not 0 <= label_smoothing < 1:
            raise InputError("label smoothing", asked=str(label_smoothing), allowed="0 to below 1")
        self.class_names = tuple(class_names)
        self.class_weights = _checked(class_weights, len(self.class_names))
        self.fill = black(preprocess)
        self._augment, self._distance = AUGMENTATIONS.get(augment), DISTANCES.get(distance)
        self.augmentation = augment
        self.temperature, self.label_smoothing = temperature, label_smoothing

    def inputs(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return everything but the labels."""
        return tuple(batch[:-1])

    def loss(self, outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Return the cross entropy of logits (batch, classes), a scalar in nats, each sample weighed by its class."""
        _check_outputs(outputs, batch[-1])
        if not self.class_weights:
            return F.cross_entropy(outputs, batch[-1], label_smoothing=self.label_smoothing)
        losses = F.cross_entropy(outputs, batch[-1], label_smoothing=self.label_smoothing, reduction="none")
        return (losses * self._weights(batch)).mean()

    def distill(self, outputs: Tensor, teacher: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Return the scalar distance of logits (batch, classes) from the teacher's, samples weighed by their class."""
        distances = self._distance(outputs, teacher, self.temperature)
        return (distances * self._weights(batch)).mean() if self.class_weights else distances.mean()

    def _weights(self, batch: Sequence[Tensor]) -> Tensor:
        """Return the weight of each sample's class, (batch,)."""
        return torch.tensor(self.class_weights, device=batch[-1].device)[batch[-1]]

    def augment(self, batch: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return the batch with its images (batch, channels, height, width) augmented."""
        return (self._augment(batch[0], generator, self.fill), *batch[1:])

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the likeliest class of each row of logits (batch, classes), (batch,) int64."""
        return outputs.argmax(dim=-1)

    def observe(self, outputs: Tensor, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return per sample: `correct` (bool), `label`, `prediction` and `loss` (nats), each (batch,)."""
        _check_outputs(outputs, batch[-1])
        prediction = outputs.argmax(dim=-1)
        loss = F.cross_entropy(outputs.float(), batch[-1], reduction="none")
        return {"correct": prediction == batch[-1], "label": batch[-1], "prediction": prediction, "loss": loss}

    def summarise(self, rows: Mapping[str, Tensor]) -> list[Record]:
        """Return accuracy, recall of every class that occurs, the worst of them, and the mean loss.

        Shares carry Wilson's 95% interval; `worst_class_recall` that of its own class, and its count.
        """
        correct, labels = rows["correct"].bool(), rows["label"]
        if not len(labels):
            raise DataError("evaluation without samples")
        low, high = mean_interval(rows["loss"])
        mean_loss = float(rows["loss"].double().mean())
        recalls = [
            _share("recall", correct[labels == label], self._class_name(label)) for label in labels.unique().tolist()
        ]
        worst = min(recalls, key=lambda record: record.value)
        return [
            _share("accuracy", correct),
            Record("", "worst_class_recall", worst.value, "share", worst.n, worst.low, worst.high),
            Record("", "loss", mean_loss, "nats", len(labels), low, high),
            *recalls,
        ]

    def check(self, batch: Sequence[Tensor]) -> None:
        """Raise `DataError` for labels that are no class numbers or out of range, and for NaN or infinite inputs."""
        if len(batch) < 2 or not all(isinstance(part, Tensor) for part in batch):
            raise DataError("batch of a classification", asked=f"{len(batch)} parts", allowed="inputs and labels")
        inputs, labels = batch[0], batch[-1]
        if labels.dtype != torch.int64 or labels.dim() != 1:
            asked = f"{labels.dtype} of shape {tuple(labels.shape)}"
            raise DataError("labels of a batch", asked=asked, allowed="torch.int64 of shape (batch,)")
        if len(inputs) != len(labels) or not len(labels):
            raise DataError("batch", asked=f"{len(inputs)} inputs, {len(labels)} labels", allowed="as many, 1 or more")
        strange = labels[(labels < 0) | (labels >= (len(self.class_names) or labels.max() + 1))]
        if len(strange):
            allowed = f"0 to {len(self.class_names) - 1}" if self.class_names else "0 and more"
            raise DataError(
                "labels out of range", asked=", ".join(map(str, strange.unique().tolist()[:8])), allowed=allowed
            )
        if not bool(torch.isfinite(inputs).all()):
            raise DataError("inputs of a batch hold NaN or infinite values")

    def _class_name(self, label: int) -> str:
        return self.class_names[label] if label < len(self.class_names) else str(label)


def _checked(weights: Sequence[float], num_classes: int) -> tuple[float, ...]:
    """Return weights as a tuple of floats."""
    found = tuple(float(weight) for weight in weights)
    if found and len(found) != num_classes:
        raise InputError("class weights", asked=f"{len(found)}", allowed=f"{num_classes}, one for each class, or none")
    if not all(math.isfinite(weight) and weight > 0 for weight in found):
        raise InputError("class weights", asked=", ".join(f"{weight:g}" for weight in found), allowed="above 0")
    return found


def _check_outputs(outputs: Tensor, labels: Tensor) -> None:
    """Refuse outputs that are not one row of logits a sample, or labels beyond them (on the CPU, where it is free)."""
    if outputs.dim() != 2:
        raise DataError(
            "outputs of a classification", asked=f"shape {tuple(outputs.shape)}", allowed="(batch, classes)"
        )
    if not labels.is_cuda and len(labels) and int(labels.max()) >= outputs.shape[1]:
        raise DataError("labels out of range", asked=str(int(labels.max())), allowed=f"0 to {outputs.shape[1] - 1}")


def _share(metric: str, correct: Tensor, scope: str = "") -> Record:
    """Return the share of `correct` (n,) with its interval."""
    n, hits = len(correct), int(correct.sum())
    low, high = wilson(hits, n)
    return Record("", metric, hits / n, "share", n, low, high, scope=scope)
