"""Embeddings that can be cut: sizes asked for, points named p50:8, files, and what is refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

import concertina as ct
from concertina.errors import InputError, PointError
from concertina.family import Family
from concertina.load.data import TensorData

SMALL = "zoo:sentence-encoder@vocabulary=40,positions=12,width=16,layers=3,heads=4,inner=32,outputs=16"


def pairs(seed: int, count: int = 96) -> TensorData:
    """Return pairs of rows of token ids; the score is how many tokens they share."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randint(1, 40, (2, count, 6), generator=generator)
    same = torch.rand(count, 6, generator=generator) < torch.rand(count, 1, generator=generator)
    return TensorData((a, torch.where(same, a, b), same.float().mean(1)))


@cache
def core() -> ct.Core:
    return ct.load(SMALL, weights="random")


@cache
def family() -> Family:
    return ct.fit(
        core(), pairs(0), pairs(1), points=(0.5,), outputs=(4, 8), epochs=1, batch_size=32, optimizer="adamw",
        learning_rate=1e-3,
    )  # fmt: skip


def cosines(rows: torch.Tensor) -> torch.Tensor:
    rows = nn.functional.normalize(rows, dim=-1)
    return rows @ rows.T


def test_the_turn_keeps_all_cosines_and_puts_noise_last() -> None:
    made = ct.prepare(core(), pairs(0), points=(0.5,), outputs=(11,), epochs=0)
    ids = pairs(2).tensors[0]
    with torch.no_grad():
        before, after = core().module(ids), made.family.core.module(ids)
    assert torch.allclose(cosines(before), cosines(after), atol=1e-4)
    lost = [float((cosines(rows[:, :11]) - cosines(rows)).abs().mean()) for rows in (before, after)]
    assert lost[1] < 0.5 * lost[0]


def test_first_numbers_each_say_a_part_of_everything() -> None:
    made = ct.prepare(core(), pairs(0), points=(0.5,), outputs=(4,), epochs=0)
    with torch.no_grad():
        rows = made.family.core.module(pairs(2).tensors[0])
    spread = rows[:, :11].square().mean(0)
    assert float(spread.max() / spread.min()) < 100
    assert float(rows[:, 11:].square().mean()) < 0.1 * float(spread.mean())


def test_a_cut_point_gives_the_first_outputs_of_the_point() -> None:
    ids = pairs(3).tensors[0]
    for name in ("p50", "p100"):
        whole = family().view(name)(ids)
        for cut in (family().at(point=f"{name}:8"), family().at(point=name, outputs=8), family().view(f"{name}:8")):
            assert torch.allclose(cut(ids), whole[:, :8], atol=1e-6)
    assert family().at(0.5, outputs=16) is family().at(0.5)
    chosen = family().choose(0.5, outputs=4)
    assert chosen.name == "p50:4"
    assert chosen.params < family().choose(0.5).params


def test_every_point_has_all_outputs_and_a_figure_for_every_size() -> None:
    for point in family().points:
        assert point.spec["output:head"] == 16
        scopes = {r.scope for r in family().records if r.spec == point.spec.text and r.metric == "spearman"}
        assert scopes == {"", "outputs=8", "outputs=4"}
        whole = next(
            r.value for r in family().records if r.spec == point.spec.text and r.metric == "spearman" and not r.scope
        )
        assert dict(point.metrics)["spearman"] == whole


def test_sizes_survive_the_file_and_a_cut_point_can_be_extracted(tmp_path: Path) -> None:
    family().save(tmp_path / "e.concertina")
    opened, ids = ct.open(tmp_path / "e.concertina"), pairs(4).tensors[0]
    assert opened.task.outputs == (8, 4)
    assert torch.equal(opened.at(0.5, outputs=4)(ids), family().at(0.5, outputs=4)(ids))
    opened.extract(tmp_path / "out", 0.5, outputs=8)
    assert json.loads((tmp_path / "out" / "slim.json").read_text())
    program = next((tmp_path / "out").glob("*.pt2"))
    example = core().example_inputs[0]
    assert torch.export.load(program).module()(example).shape == (2, 8)


@pytest.mark.parametrize("sizes", [(16,), (0,), (4, 4), "8", (4.5,), (True,)])
def test_sizes_that_cannot_be_are_refused(sizes: object) -> None:
    with pytest.raises(InputError, match="outputs"):
        ct.prepare(core(), pairs(0), points=(0.5,), outputs=sizes, epochs=0)


def test_outputs_are_refused_where_they_mean_nothing() -> None:
    with pytest.raises(InputError, match="similarity"):
        ct.fit(ct.load("zoo:mlp"), pairs(0), outputs=(4,), epochs=0)

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.norm = nn.Embedding(40, 16), nn.LayerNorm(16)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.norm(self.table(ids)).mean(1)

    bare = ct.load(Bare(), core().example_inputs, task="similarity")
    with pytest.raises(InputError, match=r"nn\.Linear"):
        ct.prepare(bare, pairs(0), points=(0.5,), outputs=(4,), epochs=0)
    for ask in ({"outputs": 5}, {"point": "p50:5"}, {"point": "p50:8", "outputs": 4}, {"outputs": "8"}):
        with pytest.raises(PointError, match="outputs"):
            family().at(**({"share": 0.5} if "point" not in ask else {}), **ask)
    for wanted in ({"share": 0.4, "outputs": 8}, {"point": "p50:8"}):
        with pytest.raises(PointError, match="calibrated"):
            family().at(calibrate=pairs(0), **wanted)
    assert family().evidence.provenance["outputs"].startswith("8, 4;")
    with pytest.raises(PointError, match="whole"):
        ct.fit(core(), pairs(0), points=(0.5,), epochs=0).at(0.5, outputs=8)
