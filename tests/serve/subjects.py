"""A small family and sessions over it; both are shared, so leave them as they are."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

import concertina as ct
from concertina.serve import Session, Settings

POINTS = ("p25", "p50", "p100")
TIMES_MS = {"p25": {1: 0.2, 8: 0.8}, "p50": {1: 0.3, 8: 1.2}, "p100": {1: 0.5, 8: 2.0}}
"""What calls take, more or less; given, so that no test depends on how busy the machine was."""
QUICK = Settings(times_ms=TIMES_MS, max_batch=8)


@cache
def family() -> ct.Family:
    """Return an untrained family with three points and figures of each."""
    core = ct.load("zoo:mlp")
    train, held = (ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess) for part in ("validation", "test"))
    return ct.fit(core, train, held, points=(0.25, 0.5), epochs=0)


@cache
def session() -> Session:
    """Return an open session that nobody closes."""
    return Session(family(), QUICK)


def inputs(samples: int = 1, seed: int = 0) -> Tensor:
    """Return inputs (samples, 1, 8, 8)."""
    return torch.randn(samples, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def expected(point: str, given: Tensor) -> Tensor:
    """Return what a point computes without any session."""
    with torch.inference_mode():
        return family().view(point)(given)
