"""Family files to use the verbs on, made once: of the zoo, and of a network of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import nn, randn

import concertina as ct


@dataclass(frozen=True)
class Files:
    """Families of three points, without training."""

    zoo: Path
    """Made from `zoo:mlp`."""
    own: Path
    """Made from a user's own module."""
    cut: Path
    """The first, cut inside its last stage: p25 and p50 are whole in it."""


def fit(core: ct.Core) -> ct.Family:
    train, held = (ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess) for part in ("validation", "test"))
    return ct.fit(core, train, held, points=(0.25, 0.5, 1.0), epochs=0)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return the files; do not change them."""
    folder = tmp_path_factory.mktemp("families")
    made = Files(folder / "zoo.concertina", folder / "own.concertina", folder / "cut.concertina")
    fit(ct.load("zoo:mlp")).save(made.zoo)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    fit(ct.load(network, randn(2, 1, 8, 8))).save(made.own)
    whole = made.zoo.read_bytes()
    made.cut.write_bytes(whole[: int(0.7 * len(whole))])
    return made
