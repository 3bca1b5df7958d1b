"""Distances between a student's outputs and a teacher's: what distillation minimises."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from concertina.registry import Registry

Distance = Callable[[Tensor, Tensor, float], Tensor]
"""(student outputs, teacher outputs, temperature) -> (rows,), one distance a row of outputs; nothing flows back into
the teacher."""

DISTANCES: Registry[Distance] = Registry("distance")


@DISTANCES.register("kl", source="Hinton, Vinyals, Dean 2015, arXiv 1503.02531", methods=("004-271",), year=2015)
def kl_divergence(outputs: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return each row's KL divergence from the teacher's softened class probabilities, times temperature squared.

    Args:
        outputs: Student logits (batch, ..., classes); every position is a row.
        teacher: Teacher logits of the same shape.
        temperature: Softens both; the factor `temperature ** 2` keeps the size of the gradients.
    """
    student = F.log_softmax(outputs / temperature, dim=-1).flatten(0, -2)
    target = F.log_softmax(teacher.detach() / temperature, dim=-1).flatten(0, -2)
    return F.kl_div(student, target, reduction="none", log_target=True).sum(1) * temperature**2


@DISTANCES.register("mse", source="Ba & Caruana 2014, arXiv 1312.6184 (regression on logits)", year=2014)
def mean_squared(outputs: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return each sample's mean squared difference of outputs (batch, ...), both divided by the temperature."""
    return F.mse_loss(outputs / temperature, teacher.detach() / temperature, reduction="none").flatten(1).mean(1)


@DISTANCES.register(
    "cosine", source="Reimers & Gurevych 2020, arXiv 2004.09813 (copying a teacher's vectors)", year=2020
)
def cosine(outputs: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return one minus the cosine of each pair of vectors (batch, ..., features), divided by the temperature.

    Vectors shorter than the teacher's are compared with the first numbers of those.
    """
    target = teacher.detach()[..., : outputs.shape[-1]]
    return (1 - F.cosine_similarity(outputs, target, dim=-1)).flatten() / temperature


@DISTANCES.register("gram", source="Tung & Mori 2019, arXiv 1907.09682 (here with normalised vectors)", year=2019)
def gram(outputs: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return each row's mean squared difference of both cosine matrices (batch, batch), divided by the temperature.

    Student and teacher vectors (batch, features) may differ in the number of features.
    """
    own, target = F.normalize(outputs, dim=-1), F.normalize(teacher.detach(), dim=-1)
    return F.mse_loss(own @ own.T, target @ target.T, reduction="none").mean(1) / temperature


@DISTANCES.register(
    "vectors", source="Reimers & Gurevych 2020, arXiv 2004.09813, with Tung & Mori 2019, arXiv 1907.09682", year=2020
)
def vectors(outputs: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the sum of "cosine" and "gram" of vectors (batch, features): where each lies, and how all lie together."""
    return cosine(outputs, teacher, temperature) + gram(outputs, teacher, temperature)
