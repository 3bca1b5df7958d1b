"""The whole way for the other task: an embedding network judged by the rank correlation of similarities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import concertina as ct
from concertina.load.data import TensorData


class Embedder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 48), nn.LayerNorm(48), nn.GELU(), nn.Linear(48, 40), nn.GELU())
        self.out = nn.Linear(40, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.layers(x))


def pairs(seed: int, count: int = 256) -> TensorData:
    generator = torch.Generator().manual_seed(seed)
    a, noise = torch.randn(2, count, 12, generator=generator)
    mix = torch.rand(count, 1, generator=generator)
    b = mix * a + (1 - mix) * noise
    return TensorData((a, b, mix[:, 0]))


@pytest.mark.parametrize("recipe", ["sandwich", "prune-and-grow"])
def test_an_embedding_network_becomes_a_family(tmp_path: Path, recipe: str) -> None:
    torch.manual_seed(0)
    core = ct.load(Embedder(), torch.randn(2, 12), task="similarity")
    family = ct.fit(
        core, pairs(0), pairs(1), points=(0.3, 0.6), epochs=6, batch_size=32, recipe=recipe, optimizer="adamw",
        learning_rate=3e-3,
    )  # fmt: skip
    figures = [dict(point.metrics)["spearman"] for point in family.points]
    assert min(figures) > 0.5
    before = next(r.value for r in family.records if r.spec == "core" and r.metric == "spearman")
    assert figures[-1] > before - 0.05
    family.save(tmp_path / "e.concertina")
    opened = ct.open(tmp_path / "e.concertina", module=Embedder())
    inputs = torch.randn(4, 12)
    assert torch.equal(opened.at(0.6)(inputs), family.at(0.6)(inputs))
