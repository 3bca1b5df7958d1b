"""The tagging task: one class for each token, such as entities in a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from concertina.errors import DataError, InputError
from concertina.objective.base import TASKS, Metric, Task
from concertina.objective.distances import DISTANCES
from concertina.objective.intervals import mean_interval, ratio
from concertina.objective.spans import is_bio, spans_of
from concertina.types import Preprocess, Record

UNJUDGED = -100
"""Tag of tokens that nobody asks about: padding, marks, and all pieces of a word but the first. So is any below 0."""


@TASKS.register("tagging", source="Tjong Kim Sang & De Meulder 2003 (arXiv cs/0306050) for its figure", year=2003)
class Tagging(Task):
    """One class per token: a batch is (token ids (batch, tokens), ..., tags (batch, tokens) int64).

    Tags below 0 are not judged. The figure is the F1 of spans where the tags are those of the BIO scheme ("O",
    "B-person", "I-person"), else the share of tokens that are right.

    Args:
        class_names: Names of the tags in the order of the outputs; empty to number them.
        preprocess: Not used; there for the shared signature of tasks.
        augment: Must be "none"; there for the shared signature of tasks.
        distance: Name of the distance that distillation minimises, over the tokens that are judged.
        temperature: Temperature of the distance.

    Raises:
        UnknownNameError: No such distance.
        InputError: Another argument is out of range.
    """

    name = "tagging"
    metric = Metric("token_accuracy", "max")

    def __init__(
        self,
        class_names: Sequence[str] = (),
        preprocess: Preprocess = Preprocess(),  # noqa: ARG002, B008 - the signature of tasks; frozen value
        *,
        augment: str = "none",
        distance: str = "kl",
        temperature: float = 1.0,
    ) -> None:
        if augment != "none":
            raise InputError("augmentation of a tagging task", asked=repr(augment), allowed="none")
        if not temperature > 0:
            raise InputError("temperature of distillation", asked=str(temperature), allowed="above 0")
        self.class_names = tuple(class_names)
        self._has_spans = is_bio(self.class_names)
        if self._has_spans:
            self.metric = Metric("span_f1", "max")
        self._distance, self.temperature = DISTANCES.get(distance), temperature

    def inputs(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return everything but the tags."""
        return tuple(batch[:-1])

    def loss(self, outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Return the mean cross entropy of logits (batch, tokens, classes) over the tokens judged, in nats."""
        tags = _checked(outputs, batch[-1])
        return F.cross_entropy(outputs.flatten(0, 1), tags.flatten(), ignore_index=UNJUDGED)

    def distill(self, outputs: Tensor, teacher: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Return the scalar distance of logits (batch, tokens, classes) from the teacher's, over the tokens judged.

        Without tags, one number a sample in their place, all tokens count that are no padding of zeros.
        """
        tags = batch[-1]
        judged = tags >= 0 if tags.dim() == outputs.dim() - 1 else batch[0] != 0
        return self._distance(outputs[judged], teacher[judged], self.temperature).mean()

    def augment(self, batch: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:  # noqa: ARG002 - a Task
        """Return the batch as it is."""
        return tuple(batch)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the likeliest tag of each token, (batch, tokens) int64."""
        return outputs.argmax(dim=-1)

    def observe(self, outputs: Tensor, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return per sample, (batch,) each: `tokens` judged, how many are `right`, `nats` lost in sum.

        With BIO tags also how many spans were `wanted`, `found` and both (`hits`).
        """
        tags = _checked(outputs, batch[-1])
        judged, predicted = tags >= 0, outputs.argmax(dim=-1)
        nats = F.cross_entropy(outputs.float().transpose(1, 2), tags, reduction="none", ignore_index=UNJUDGED)
        rows = {
            "tokens": judged.sum(dim=1),
            "right": ((predicted == tags) & judged).sum(dim=1),
            "nats": nats.double().sum(dim=1),
        }
        return rows | (self._spans(predicted, tags, judged) if self._has_spans else {})

    def _spans(self, predicted: Tensor, tags: Tensor, judged: Tensor) -> dict[str, Tensor]:
        """Return the numbers of spans of each sample, (batch,)."""
        told: list[tuple[int, int, int]] = []
        for ours, theirs, there in zip(predicted.tolist(), tags.tolist(), judged.tolist(), strict=True):
            found, wanted = (
                spans_of([self.class_names[tag] for tag, is_there in zip(row, there, strict=True) if is_there])
                for row in (ours, theirs)
            )
            told.append((len(wanted), len(found), len(wanted & found)))
        counts = torch.tensor(told)
        return dict(zip(("wanted", "found", "hits"), counts.unbind(dim=1), strict=True))

    def summarise(self, rows: Mapping[str, Tensor]) -> list[Record]:
        """Return the figure, the share of tokens right and the mean loss; with spans their precision and recall too.

        Intervals take samples for independent of each other, and their tokens and spans not.
        """
        tokens, n = rows["tokens"], len(rows["tokens"])
        if not int(tokens.sum()):
            raise DataError("evaluation without tokens that are judged")
        found = [_share("token_accuracy", rows["right"], tokens)]
        if self._has_spans:
            hits = rows["hits"]
            found = [
                _share("span_f1", 2 * hits, rows["found"] + rows["wanted"]),
                _share("span_precision", hits, rows["found"]),
                _share("span_recall", hits, rows["wanted"]),
                *found,
            ]
        value, low, high = ratio(rows["nats"], tokens)
        return [*found, Record("", "loss", value, "nats", n, low, high)]

    def check(self, batch: Sequence[Tensor]) -> None:
        """Raise `DataError` for tags that are no class numbers or out of range, or are not one for each token."""
        if len(batch) < 2 or not all(isinstance(part, Tensor) for part in batch):
            raise DataError("batch of a tagging task", asked=f"{len(batch)} parts", allowed="token ids and tags")
        ids, tags = batch[0], batch[-1]
        if tags.dtype != torch.int64 or tags.dim() != 2 or tags.shape != ids.shape[:2]:
            asked = f"{tags.dtype} of shape {tuple(tags.shape)}"
            raise DataError("tags of a batch", asked=asked, allowed=f"torch.int64 of shape {tuple(ids.shape[:2])}")
        if self.class_names and int(tags.max()) >= len(self.class_names):
            allowed = f"0 to {len(self.class_names) - 1}, or below 0 where nothing is judged"
            raise DataError("tags out of range", asked=str(int(tags.max())), allowed=allowed)


def _checked(outputs: Tensor, tags: Tensor) -> Tensor:
    """Return tags (batch, tokens) with one number for all that are not judged, once they are seen to fit."""
    if outputs.dim() != 3 or outputs.shape[:2] != tags.shape:
        allowed = f"{tuple(tags.shape)} and classes"
        raise DataError("outputs of a tagging network", asked=f"shape {tuple(outputs.shape)}", allowed=allowed)
    if not tags.is_cuda and tags.numel() and int(tags.max()) >= outputs.shape[-1]:
        raise DataError("tags out of range", asked=str(int(tags.max())), allowed=f"up to {outputs.shape[-1] - 1}")
    return torch.where(tags < 0, UNJUDGED, tags)


def _share(metric: str, hits: Tensor, of: Tensor) -> Record:
    """Return a share of sums over samples (n,); 0 where there is nothing to have a share in."""
    n = len(of)
    if not int(of.sum()):
        return Record("", metric, 0.0, "share", n, *mean_interval(torch.zeros(n)))
    value, low, high = ratio(hits, of)
    ends = (None, None) if low is None or high is None else (max(0.0, low), min(1.0, high))
    return Record("", metric, value, "share", n, *ends)
