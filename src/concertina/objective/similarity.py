"""The embedding-similarity task: how alike two inputs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from concertina.errors import DataError, InputError
from concertina.objective.augment import AUGMENTATIONS, black
from concertina.objective.base import TASKS, Metric, Task
from concertina.objective.distances import DISTANCES
from concertina.objective.intervals import mean_interval, spearman
from concertina.types import Preprocess, Record

Loss = Literal["cosent", "cosine"]
COSENT_SCALE = 20.0


@TASKS.register("similarity", source="Reimers & Gurevych 2019, arXiv 1908.10084", year=2019)
class Similarity(Task):
    """Similarity of pairs: a batch is (inputs of a ..., inputs of b ..., scores (batch,)).

    The network is called once with all a, then all b, along the batch, and gives embeddings
    (2 * batch, features). Token ids and masks (batch, tokens) of unequal length are padded with zeros.

    Args:
        class_names: Must be empty; there for the shared signature of tasks.
        preprocess: What image inputs went through, so that augmentation fills in what was black.
        augment: Name of the augmentation, for one image per side.
        loss: "cosent" ranks pairs (any scale of scores); "cosine" regresses cosines on `scores / top_score`.
        top_score: Score of two equal inputs, for "cosine".
        distance: Name of the distance that distillation minimises; unless said "vectors" where embeddings may be cut,
            and "gram", which takes students with another number of features, where not.
        outputs: Sizes to which embeddings may be cut: their first so many numbers are judged, and trained, as
            embeddings too (Kusupati et al. 2022, arXiv 2205.13147).

    Raises:
        UnknownNameError: No such augmentation or distance.
        InputError: Another argument is out of range.
    """

    name = "similarity"
    metric = Metric("spearman", "max", "correlation")
    sides = 2

    def __init__(
        self,
        class_names: Sequence[str] = (),
        preprocess: Preprocess = Preprocess(),  # noqa: B008 - frozen value
        *,
        augment: str = "none",
        loss: Loss = "cosent",
        top_score: float = 1.0,
        distance: str = "",
        outputs: Sequence[int] = (),
    ) -> None:
        if class_names:
            raise InputError("class names of a similarity task", asked=str(len(class_names)), allowed="none")
        if loss not in get_args(Loss):
            raise InputError("loss of a similarity task", asked=repr(loss), allowed=", ".join(get_args(Loss)))
        if not top_score > 0:
            raise InputError("top score", asked=str(top_score), allowed="above 0")
        self.kind, self.top_score, self.fill = loss, top_score, black(preprocess)
        self._augment, self._distance = (
            AUGMENTATIONS.get(augment),
            DISTANCES.get(distance or ("vectors" if outputs else "gram")),
        )
        self.augmentation = augment
        self.outputs = check_outputs(outputs)

    def inputs(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return each input of all a followed by that of all b, (2 * batch, ...)."""
        a, b = _sides(batch)
        joined = tuple(torch.cat(_padded(x, y)) for x, y in zip(a, b, strict=True))
        return (_trimmed(joined[0]),) if len(joined) == 1 else joined

    def loss(self, outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Return the scalar loss of embeddings (2 * batch, features) against the scores."""
        losses = [self._loss(_cosines(part), batch[-1].to(part)) for part in self._cuts(outputs)]
        return torch.stack(losses).mean()

    def _loss(self, cosines: Tensor, scores: Tensor) -> Tensor:
        return cosent(cosines, scores) if self.kind == "cosent" else F.mse_loss(cosines, scores / self.top_score)

    def _cuts(self, outputs: Tensor) -> list[Tensor]:
        """Return embeddings (2 * batch, features) whole, and cut to each smaller size."""
        return [outputs, *(outputs[:, :size] for size in self.outputs if size < outputs.shape[-1])]

    def distill(self, outputs: Tensor, teacher: Tensor, batch: Sequence[Tensor]) -> Tensor:  # noqa: ARG002 - a Task
        """Return the scalar distance of embeddings (2 * batch, features) from the teacher's."""
        return torch.stack([self._distance(part, teacher, 1.0).mean() for part in self._cuts(outputs)]).mean()

    def augment(self, batch: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return the batch with the first input of each side augmented."""
        a, b = _sides(batch)
        first, second = (self._augment(side[0], generator, self.fill) for side in (a, b))
        return (first, *a[1:], second, *b[1:], batch[-1])

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the cosine of each pair of embeddings (2 * batch, features), (batch,)."""
        return _cosines(outputs.float())

    def observe(self, outputs: Tensor, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return per pair: `similarity` (cosine), `similarity SIZE` of cut embeddings, and `score`, each (batch,)."""
        whole, *cut = (_cosines(part.float()) for part in self._cuts(outputs))
        sizes = [size for size in self.outputs if size < outputs.shape[-1]]
        smaller = {f"similarity {size}": cosines for size, cosines in zip(sizes, cut, strict=True)}
        return {"similarity": whole, **smaller, "score": batch[-1].float()}

    def summarise(self, rows: Mapping[str, Tensor]) -> list[Record]:
        """Return Spearman's rank correlation of similarities and scores, also of cut embeddings ("outputs=128").

        With "cosine" the mean squared error is there too.
        """
        n = len(rows["score"])
        if not n:
            raise DataError("evaluation without pairs")
        names = {"similarity": ""} | {f"similarity {size}": f"outputs={size}" for size in self.outputs}
        ranks = [
            Record("", "spearman", value, "correlation", n, low, high, scope=scope)
            for name, scope in names.items()
            if name in rows
            for value, low, high in (spearman(rows[name], rows["score"]),)
        ]
        if self.kind == "cosent":
            return ranks
        errors = (rows["similarity"].double() - rows["score"].double() / self.top_score) ** 2
        return [*ranks, Record("", "loss", float(errors.mean()), "squared cosine", n, *mean_interval(errors))]

    def check(self, batch: Sequence[Tensor]) -> None:
        """Raise `DataError` for a batch that is not two equal sides and one finite score a pair."""
        a, b = _sides(batch)
        scores = batch[-1]
        if scores.dim() != 1 or not scores.is_floating_point() or not bool(torch.isfinite(scores).all()):
            asked = f"{scores.dtype} of shape {tuple(scores.shape)}"
            raise DataError("scores of a batch", asked=asked, allowed="finite floats of shape (batch,)")
        if not len(scores) or {len(part) for part in (*a, *b)} != {len(scores)}:
            raise DataError("pairs of a batch", asked=f"{[len(p) for p in batch]} rows", allowed="as many in each part")
        if any(x.dtype != y.dtype or x.dim() != y.dim() for x, y in zip(a, b, strict=True)):
            raise DataError("sides of a batch differ in dtype or number of dims")
        if not all(bool(torch.isfinite(part).all()) for part in (*a, *b)):
            raise DataError("inputs of a batch hold NaN or infinite values")


def cosent(cosines: Tensor, scores: Tensor, scale: float = COSENT_SCALE) -> Tensor:
    """Return log(1 + sum of exp(scale * (cos_j - cos_i)) over pairs i, j with score_i > score_j), a scalar.

    Args:
        cosines: Similarity of each pair, (batch,).
        scores: How alike each pair should be, on any scale, (batch,).
        scale: Sharpness.

    Source: Su Jianlin 2022, CoSENT (kexue.fm/archives/8847).
    """
    rise = scale * (cosines[None, :] - cosines[:, None])
    wrong = rise.masked_fill(scores[:, None] <= scores[None, :], float("-inf"))
    return torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong.flatten()]), dim=0)


def check_outputs(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return sizes of cut embeddings, falling.

    Raises:
        InputError: They are no whole numbers of 1 or more, each once.
    """
    found = list(sizes) if isinstance(sizes, Sequence) and not isinstance(sizes, str | bytes) else [sizes]
    good = all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in found)
    if not good or len(set(found)) != len(found):
        raise InputError("outputs", asked=repr(sizes), allowed="whole numbers of 1 or more, each once")
    return tuple(sorted((int(size) for size in found), reverse=True))


def _sides(batch: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the inputs of a and those of b."""
    if len(batch) < 3 or len(batch) % 2 == 0:
        raise DataError("batch of pairs", asked=f"{len(batch)} parts", allowed="inputs of a, inputs of b, one score")
    half = len(batch) // 2
    return tuple(batch[:half]), tuple(batch[half:-1])


def _padded(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return token rows (batch, tokens) padded with zeros to one length; others as they are."""
    if a.dim() != 2 or b.dim() != 2 or a.is_floating_point() or a.shape[1] == b.shape[1]:
        return a, b
    tokens = max(a.shape[1], b.shape[1])
    return F.pad(a, (0, tokens - a.shape[1])), F.pad(b, (0, tokens - b.shape[1]))


def _trimmed(ids: Tensor) -> Tensor:
    """Return token ids (batch, tokens) without the columns at the end that hold padding alone; others as they are."""
    if ids.dim() != 2 or ids.is_floating_point() or not ids.numel():
        return ids
    used = ids.any(dim=0).nonzero()
    return ids[:, : max(1, int(used[-1]) + 1 if len(used) else 1)]


def _cosines(outputs: Tensor) -> Tensor:
    """Return the cosine of each pair of embeddings (2 * batch, features), shape (batch,)."""
    a, b = outputs.chunk(2)
    return F.cosine_similarity(a, b, dim=-1)
