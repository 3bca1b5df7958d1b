"""Families whose ranks are elastic: fitted, taught by the network as it was, saved, opened, extracted, trained on."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from tests.family.subjects import digits
from tests.family.subjects import family as dense
from torch import nn

import concertina as ct
from concertina.cli import main
from concertina.errors import InputError, LoadError
from concertina.family import Family


@cache
def factorised() -> ct.Core:
    return ct.factorize(ct.load("zoo:digits-cnn"), digits(), samples=64, layers=["stages.2"])


@cache
def family() -> Family:
    return ct.fit(factorised(), digits(), digits("validation"), points=(0.3, 0.6), epochs=2, batch_size=32)


def test_ranks_widths_and_blocks_are_dims_of_one_order() -> None:
    space = family().supernet.space
    assert {dim.axis for dim in space.dims} == {"rank", "width", "depth"}
    ranks = [dim for dim in space.dims if dim.axis == "rank"]
    assert {dim.name.removeprefix("rank:") for dim in ranks} == set(factorised().rewritten)
    assert all(dim.needs for dim in ranks)
    assert any(family().points[0].spec[dim.name] < dim.original for dim in ranks)


def test_the_network_as_it_was_is_the_core() -> None:
    ours, plain = (
        next(r.value for r in made.records if r.spec == "core" and r.metric == "accuracy")
        for made in (family(), dense())
    )
    assert ours == plain
    again = family().measure(digits("validation"), points=[family().points[0].name], core=factorised())
    assert next(r.value for r in again if r.spec == "core" and r.metric == "accuracy") == plain
    assert family().core.fingerprint == ct.load("zoo:digits-cnn").fingerprint
    assert family().evidence.provenance["factorised"] == "4 layers (spatial)"


def test_the_network_as_it_was_teaches() -> None:
    core = ct.factorize(ct.load("zoo:mlp"))
    ready = ct.prepare(core, digits(), points=(0.5,), epochs=1)
    assert ready.teacher is not None
    x = core.example_inputs[0]
    assert torch.equal(ready.teacher.module(x), ct.load("zoo:mlp").module(x))


def test_training_wins_back_what_truncation_cost() -> None:
    core = ct.factorize(ct.load("zoo:mlp"), digits())
    runs = [ct.fit(core, digits(), digits("validation"), points=(0.1,), epochs=epochs) for epochs in (0, 6)]
    before, after = (dict(made.points[0].metrics)["accuracy"] for made in runs)
    assert after > before + 0.05


def test_a_file_gives_every_point_back(tmp_path: Path) -> None:
    family().save(tmp_path / "ranks.concertina")
    again = ct.open(tmp_path / "ranks.concertina")
    x = factorised().example_inputs[0]
    for point in family().points:
        assert torch.equal(family().at(point=point.name)(x), again.at(point=point.name)(x))
    assert dict(again.core.rewritten) == dict(factorised().rewritten)
    smallest = family().points[0].name
    part = ct.open(tmp_path / "ranks.concertina", upto=smallest)
    assert torch.equal(part.at(point=smallest)(x), family().at(point=smallest)(x))


def test_a_familys_ranks_are_trained_further(tmp_path: Path) -> None:
    family().save(tmp_path / "ranks.concertina")
    more = ct.fit(factorised(), digits(), start=tmp_path / "ranks.concertina", epochs=1, batch_size=32)
    assert [point.spec for point in more.points] == [point.spec for point in family().points]
    plain = ct.fit(ct.load("zoo:digits-cnn"), digits(), start=tmp_path / "ranks.concertina", epochs=1, batch_size=32)
    x = factorised().example_inputs[0]
    assert all(torch.equal(more.at(point=p.name)(x), plain.at(point=p.name)(x)) for p in more.points)
    more.save(tmp_path / "more.concertina")
    assert torch.equal(ct.open(tmp_path / "more.concertina").at(1.0)(x), more.at(1.0)(x))


class Own(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10))


def test_a_users_own_class_is_factorised_again_at_open(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = digits()
    core = ct.load(Own(), torch.randn(2, 1, 8, 8))
    family = ct.fit(ct.factorize(core), data, points=(0.5,), epochs=0)
    family.save(tmp_path / "own.concertina")
    x = torch.randn(3, 1, 8, 8)
    again = ct.open(tmp_path / "own.concertina", module=Own())
    assert torch.equal(again.at(0.5)(x), family.at(0.5)(x))
    with pytest.raises(LoadError, match="module=YourNetwork"):
        ct.open(tmp_path / "own.concertina")


def test_extracted_subnets_name_their_pairs(tmp_path: Path) -> None:
    family().extract(tmp_path / "half", point="p60")
    plan = json.loads((tmp_path / "half" / "slim.json").read_text(encoding="utf-8"))
    spec = family().points[1].spec
    for path, pair in plan["factored"].items():
        assert pair == {"rank": spec[f"rank:{path}"], "way": "spatial"}
    program = torch.export.load(tmp_path / "half" / "model.pt2").module()
    x = factorised().example_inputs[0]
    torch.testing.assert_close(program(x), family().at(point="p60")(x), rtol=1e-4, atol=1e-5)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mlp.concertina"
    words = ["fit", "zoo:mlp", "--data", "zoo:digits@train", "--points", "0.5", "--epochs", "1", "-o", str(path)]
    assert main([*words, "--factorize", "svd"]) == 2
    assert "--factorize: got 'svd'; allowed: channel, spatial" in capsys.readouterr().err
    assert main([*words, "--tables", "0.5"]) == 2
    assert "--tables: got no --factorize" in capsys.readouterr().err
    assert main([*words, "--factorize", "spatial", "--quiet"]) == 0
    assert {dim.axis for dim in ct.open(path).supernet.space.dims} == {"rank", "width"}


def test_odd_options_are_refused() -> None:
    with pytest.raises(InputError, match="unknown option: got 'rank'"):
        ct.factorize(ct.load("zoo:mlp"), rank=3)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="option samples: got 0; allowed: 1 or more"):
        ct.factorize(ct.load("zoo:mlp"), digits(), samples=0)
