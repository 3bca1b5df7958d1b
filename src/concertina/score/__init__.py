"""Criteria of importance, one file each. Add one: write the file, import it here."""

from concertina.score import activation, beta_rank, hessian, magnitude, norm_scale, random, relevance, taylor
from concertina.score.base import CRITERIA, Criterion, block_worth, score

__all__ = [
    "CRITERIA",
    "Criterion",
    "activation",
    "beta_rank",
    "block_worth",
    "hessian",
    "magnitude",
    "norm_scale",
    "random",
    "relevance",
    "score",
    "taylor",
]
