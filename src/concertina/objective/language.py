"""The language-modelling task: which token comes next."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from concertina.errors import DataError, InputError
from concertina.load.tokens import BYTE_IDS
from concertina.objective.base import TASKS, Metric, Task
from concertina.objective.distances import DISTANCES
from concertina.objective.intervals import ratio
from concertina.types import Preprocess, Record

PADDING = -1
"""What padding is turned into; any id below 0 is padding."""
MOST_NATS = 700.0
"""Larger losses are reported as this one: their perplexity is beyond every number."""


@TASKS.register("language", source="Bengio et al. 2003, A neural probabilistic language model (JMLR 3)", year=2003)
class Language(Task):
    """Next token of running text: a batch is (token ids (batch, tokens) int64,), and further inputs if there are any.

    The network gives logits (batch, tokens, vocabulary); those behind token i are judged by token i + 1, so samples
    need no label. Ids below 0 are padding at the end of a sample: the network is given 0 there, and nothing is judged.
    Networks with 256 outputs are taken to read bytes.

    Args:
        class_names: Must be empty; there for the shared signature of tasks.
        preprocess: Not used; there for the shared signature of tasks.
        augment: Must be "none"; there for the shared signature of tasks.
        distance: Name of the distance that distillation minimises, over the tokens that are no padding.
        temperature: Temperature of the distance.

    Raises:
        UnknownNameError: No such distance.
        InputError: Another argument is out of range.
    """

    name = "language"
    metric = Metric("perplexity", "min", "choices")
    own_labels = True

    def __init__(
        self,
        class_names: Sequence[str] = (),
        preprocess: Preprocess = Preprocess(),  # noqa: ARG002, B008 - the signature of tasks; frozen value
        *,
        augment: str = "none",
        distance: str = "kl",
        temperature: float = 1.0,
    ) -> None:
        if class_names:
            raise InputError("class names of a language task", asked=str(len(class_names)), allowed="none")
        if augment != "none":
            raise InputError("augmentation of a language task", asked=repr(augment), allowed="none")
        if not temperature > 0:
            raise InputError("temperature of distillation", asked=str(temperature), allowed="above 0")
        self._distance, self.temperature = DISTANCES.get(distance), temperature

    def inputs(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the token ids (batch, tokens) with 0 for padding, and the further inputs."""
        return (batch[0].clamp_min(0), *batch[1:])

    def loss(self, outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Return the mean cross entropy of logits (batch, tokens, vocabulary) over all tokens foretold, in nats."""
        logits, wanted = _foretold(outputs, batch[0])
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=PADDING)

    def distill(self, outputs: Tensor, teacher: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Return the scalar distance of logits (batch, tokens, vocabulary) from the teacher's, padding left out."""
        there = batch[0] >= 0
        return self._distance(outputs[there], teacher[there], self.temperature).mean()

    def augment(self, batch: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:  # noqa: ARG002 - a Task
        """Return the batch as it is."""
        return tuple(batch)

    def observe(self, outputs: Tensor, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return per sample, (batch,) each: `nats` lost in sum, `tokens` foretold, how many `correct`, `vocabulary`."""
        logits, wanted = _foretold(outputs, batch[0])
        there = wanted >= 0
        nats = F.cross_entropy(logits.float().transpose(1, 2), wanted, reduction="none", ignore_index=PADDING)
        return {
            "nats": nats.double().sum(dim=1),
            "tokens": there.sum(dim=1),
            "correct": ((logits.argmax(dim=-1) == wanted) & there).sum(dim=1),
            "vocabulary": torch.full((len(wanted),), outputs.shape[-1]),
        }

    def summarise(self, rows: Mapping[str, Tensor]) -> list[Record]:
        """Return perplexity, bits and nats per token, and the share of tokens foretold right.

        Intervals take samples for independent of each other; windows of one document are not quite that.
        """
        tokens, n = rows["tokens"], len(rows["tokens"])
        if not int(tokens.sum()):
            raise DataError("evaluation without tokens to foretell")
        loss = ratio(rows["nats"], tokens)
        bits = "bits_per_byte" if int(rows["vocabulary"][0]) == BYTE_IDS else "bits_per_token"
        return [
            _record("perplexity", "choices", loss, n, _perplexity),
            _record(bits, "bits", loss, n, _bits),
            _record("next_token_accuracy", "share", ratio(rows["correct"], tokens), n, _share),
            _record("loss", "nats", loss, n),
        ]

    def check(self, batch: Sequence[Tensor]) -> None:
        """Raise `DataError` for what are no token ids, samples of fewer than two, and padding before tokens."""
        if not batch or not all(isinstance(part, Tensor) for part in batch):
            raise DataError("batch of a language task", asked=f"{len(batch)} parts", allowed="token ids")
        ids = batch[0]
        if ids.dtype != torch.int64 or ids.dim() != 2:
            asked = f"{ids.dtype} of shape {tuple(ids.shape)}"
            raise DataError("token ids of a batch", asked=asked, allowed="torch.int64 of shape (batch, tokens)")
        if {len(part) for part in batch} != {len(ids)} or not len(ids):
            raise DataError("parts of a batch", asked=f"{[len(p) for p in batch]} rows", allowed="as many, 1 or more")
        there = ids >= 0
        if ids.shape[1] < 2 or not bool(there[:, :2].all()):
            fewest = int(there.sum(dim=1).min())
            raise DataError("tokens of a sample", asked=str(fewest), allowed="2 or more, then padding below 0")
        if bool((there[:, 1:] & ~there[:, :-1]).any()):
            raise DataError("padding of a batch", asked="before tokens", allowed="at the end")


Figure = tuple[float, float | None, float | None]
"""A value with the ends of its interval."""


def _record(metric: str, unit: str, figure: Figure, n: int, scale: Callable[[float], float] = float) -> Record:
    """Return a figure on another scale, which keeps its order."""
    value, low, high = (None if end is None else scale(end) for end in figure)
    return Record("", metric, value or 0.0, unit, n, low, high)


def _perplexity(nats: float) -> float:
    """Return among how many equally likely tokens a network would be as unsure."""
    return math.exp(min(max(nats, 0.0), MOST_NATS))


def _bits(nats: float) -> float:
    return max(nats, 0.0) / math.log(2)


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _foretold(outputs: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (batch, tokens - 1, vocabulary) and the ids to foretell, `PADDING` where there are none."""
    if outputs.dim() != 3 or outputs.shape[:2] != ids.shape:
        allowed = f"({ids.shape[0]}, {ids.shape[1]}, vocabulary)"
        raise DataError("outputs of a language network", asked=f"shape {tuple(outputs.shape)}", allowed=allowed)
    if not ids.is_cuda and int(ids.max()) >= outputs.shape[-1]:
        raise DataError("token ids", asked=str(int(ids.max())), allowed=f"0 to {outputs.shape[-1] - 1}")
    return outputs[:, :-1], ids[:, 1:].clamp_min(PADDING)
