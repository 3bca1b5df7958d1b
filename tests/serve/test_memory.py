"""Ten thousand switches of size leave memory as it is; a control that leaks shows that the test would see it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.serve.subjects import QUICK, family, inputs

from concertina.serve import Session

SWITCHES, MOST_BYTES = 10_000, 20 * 2**20
PAGE = 4096


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def growth(switch: Callable[[int], object]) -> int:
    """Return by how much memory grows over ten thousand switches, once everything has been asked for."""
    for i in range(300):
        switch(i)
    before = resident_bytes()
    for i in range(SWITCHES):
        switch(i)
    return resident_bytes() - before


@pytest.mark.slow
def test_ten_thousand_switches_keep_no_memory() -> None:
    names = [point.name for point in family().points]
    with Session(family(), QUICK) as opened:
        assert growth(lambda i: opened.infer(inputs(), subnet=names[i % len(names)])) < MOST_BYTES
        kept: list[torch.nn.Module] = []
        leak = growth(lambda i: kept.append(family().view(names[i % len(names)]).materialize()) if i % 2 else None)
    assert leak > MOST_BYTES
