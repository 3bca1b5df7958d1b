"""Ranks of a LoRA that grow in training, where they matter most."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import concertina as ct
from concertina.load.data import ArrayData


class Two(nn.Module):
    """Two layers one behind the other, of which the second's answer hardly counts."""

    def __init__(self) -> None:
        super().__init__()
        self.strong, self.weak, self.head = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        with torch.no_grad():
            self.weak.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.strong(x))
        return self.head(x + 0.001 * torch.relu(self.weak(x)))


def family() -> tuple[ct.Family, ArrayData]:
    torch.manual_seed(0)
    x = torch.randn(256, 16)
    data = ArrayData((x, x[:, :3].argmax(1)), ("a", "b", "c"))
    core = ct.load(Two().eval(), x[:4], class_names=data.class_names)
    return ct.prepare(core, data, points=(0.5,), epochs=0, criterion="magnitude-l2").family, data


def test_ranks_grow_to_the_mean_asked_for_and_the_layer_that_matters_has_more(tmp_path: Path) -> None:
    made, data = family()
    options = {"rank": 1, "grow_to": 4}
    found = made.adapt("grown", data, data, epochs=8, batch_size=32, layers=["strong", "weak"], options=options)
    plugs = made.modules["grown"].plugs
    ranks = {path: plug.options["rank"] for plug in plugs for path in plug.places}
    assert sum(ranks.values()) == 8
    assert ranks["strong"] > ranks["weak"] >= 1
    assert all(len(held["A"].tensor) == ranks[path] for plug in plugs for path, held in plug.places.items())
    assert {plug.options["alpha"] / plug.options["rank"] for plug in plugs} == {4.0}
    assert found[-1].value > 0.5
    made.save_module("grown", tmp_path / "grown.safetensors")
    made.load_module(tmp_path / "grown.safetensors", "again")
    with torch.no_grad():
        answers = [made.with_modules(p, n)(data.inputs) for p in ("p50", "p100") for n in ("grown", "again")]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[2], answers[3])


def test_a_module_of_one_rank_is_as_it_was() -> None:
    made, data = family()
    made.adapt("plain", data, epochs=0.5, batch_size=32, options={"rank": 2})
    assert [plug.options for plug in made.modules["plain"].plugs] == [{"rank": 2, "alpha": 16.0, "grow_to": 1}]
    with pytest.raises(ct.errors.InputError, match="grow_to"):
        made.adapt("x", data, options={"grow_to": 0})
