"""Criteria of importance, one file each. Add one: write the file, import it here."""

from concertina.score import activation, beta_rank, hessian, magnitude, norm_scale, random, relevance, taylor
from concertina.score.base import CRITERIA, Criterion, block_worth, score
from concertina.score.classwise import check_by_class, score_classes

__all__ = [
    "CRITERIA",
    "Criterion",
    "activation",
    "beta_rank",
    "block_worth",
    "check_by_class",
    "hessian",
    "magnitude",
    "norm_scale",
    "random",
    "relevance",
    "score",
    "score_classes",
    "taylor",
]
