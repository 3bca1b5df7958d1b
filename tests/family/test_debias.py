"""Attributes taken out of a family's representation: on demand, at every size, and without a trace afterwards."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import concertina as ct
from concertina.errors import AnalysisError, ConcertinaError, DataError, InputError, UnknownNameError
from concertina.family.remarks import hurt_groups
from concertina.load import TableData
from concertina.load.columns import columns_of_fields

QUICK: dict[str, Any] = {"epochs": 30, "batch_size": 128}
"""A hundred and twenty steps."""


def rows(count: int, seed: int) -> dict[str, Any]:
    """A table whose label needs two numbers, one of which tells of the group as well."""
    random = np.random.default_rng(seed)
    group = random.integers(0, 2, count)
    skill, luck = random.normal(size=count), random.normal(size=count)
    return {
        "skill": skill + 0.5 * group,
        "luck": luck,
        "group": np.where(group == 1, "old", "young"),
        "town": np.array(["a", "b", "c"])[random.integers(0, 3, count)],
        "one": np.full(count, "same"),
        "rare": np.where(np.arange(count) < 3, "yes", "no"),
        "gap": np.where(np.arange(count) == 5, np.nan, 1.0),
        "label": (skill + luck > 0).astype(int),
    }


@cache
def tables() -> tuple[TableData, TableData]:
    train = rows(512, 0)
    columns = columns_of_fields(train, "label", ("one", "rare", "gap"))
    return TableData(train, columns), TableData(rows(400, 1), columns)


@cache
def file(folder: Path) -> Path:
    train, held = tables()
    train.columns.save(folder / "columns.json")
    source = f"zoo:table-mlp@columns={folder / 'columns.json'},hidden=24x16"
    core = ct.load(source, weights="random", class_names=train.class_names)
    ct.fit(core, train, held, points=(0.5,), epochs=20, learning_rate=0.1).save(folder / "table.concertina")
    return folder / "table.concertina"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return file(tmp_path_factory.mktemp("table"))


@pytest.fixture
def family(path: Path) -> ct.Family:
    return ct.open(path)


def figure(records: Any, metric: str, scope: str = "") -> dict[str, float]:
    return {r.spec: r.value for r in records if (r.metric, r.scope) == (metric, scope)}


def test_an_attribute_goes_at_every_size_and_the_task_stays(family: ct.Family, tmp_path: Path, path: Path) -> None:
    train, held = tables()
    with torch.no_grad():
        plain = {point.name: family.view(point.name)(held.inputs) for point in family.points}
    made = family.debias("age", train, held, attribute="group", target="label", **QUICK)
    before, after = (figure(made.records, "probe[group]", scope) for scope in ("", "module age"))
    assert len(after) == len(family.points) == 2
    assert max(before.values()) > 0.85
    assert max(after.values()) < 0.7
    assert min(figure(made.records, "accuracy", "module age").values()) > 0.8
    groups = {r.metric for r in made.records if r.metric.startswith("accuracy[")}
    assert groups == {"accuracy[group=old]", "accuracy[group=young]"}
    assert all(r.low is not None and r.low <= r.value <= r.high and r.n for r in made.records)
    changed, among = made.differing
    assert 0 < changed <= among
    assert made.size_bytes == family.modules["age"].size_bytes
    assert set(made.records) <= set(family.records)
    assert family.modules["age"].facts["cleaned"] == "the input of head"
    for point in family.points:  # attached, merged, from its file, and taken out again
        with torch.no_grad():
            attached, merged = (family.with_modules(point.name, "-age", merged=m)(held.inputs) for m in (False, True))
            assert torch.allclose(attached, merged, atol=1e-4)
            assert not torch.equal(attached, plain[point.name])
    family.save_module("age", tmp_path / "age.safetensors")
    again = ct.open(path)
    again.load_module(tmp_path / "age.safetensors")
    again.debias("town", train, attribute="town", beside=["age"], epochs=1)
    both = again.probe(train, held, attribute="town", modules=["-age", "-town"])
    assert {r.scope for r in both} == {"modules age, town"}
    family.modules.delete("age")
    with torch.no_grad():
        for name, answer in plain.items():
            assert torch.equal(family.view(name)(held.inputs), answer)


@pytest.mark.parametrize("by", ["hsic", "adversary"])
def test_each_way_takes_the_attribute_out_of_any_data(family: ct.Family, by: str) -> None:
    train, held = tables()
    values, told = train.column("group"), torch.from_numpy((held.column("group") == "old").astype(int))
    made = family.debias("age", train, attribute=values, by=[by], strength=2, values=["young", "old"], **QUICK)
    assert (made.records, made.warnings) == ((), ())
    number = torch.from_numpy((values == "old").astype(int))
    options: Any = {"attribute": number, "validation_attribute": told}
    found = [family.probe(train, held, modules=modules, **options) for modules in ((), "-age")]
    left, was = (figure(r, "probe[attribute]", s) for r, s in zip(found[::-1], ("module age", ""), strict=True))
    assert max(left.values()) < max(was.values()) - 0.1


def test_equal_seeds_give_equal_modules(family: ct.Family) -> None:
    train, _ = tables()
    for name in ("one", "two"):
        family.debias(name, train, attribute="group", epochs=2, seed=3)
    one, two = (family.modules[name].plugs[0].tensors for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_group_that_is_hurt_is_warned_of(family: ct.Family) -> None:
    spec = family.points[0].spec.text
    record = ct.Record(spec, "accuracy_change[sex=F]", -0.05, "share", 300, -0.08, -0.02, scope="module no sex")
    fine = ct.Record(spec, "accuracy_change[sex=M]", -0.01, "share", 300, -0.03, 0.01, scope="module no sex")
    [said] = hurt_groups(family.points, [record, fine])
    assert said.startswith(f"module no sex hurts sex=F at point {family.points[0].name!r}: accuracy -5.0%")
    family.add_records([record])
    assert said in family.warnings


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"attribute": "sex"}, DataError, "'sex'; allowed: skill"),
        ({"attribute": "label"}, InputError, "the target of the task"),
        ({"attribute": "group", "target": "town"}, InputError, "allowed: 'label'"),
        ({"attribute": "one"}, DataError, "nothing to remove"),
        ({"attribute": "rare"}, DataError, "samples of rare=yes: got 3; allowed: 20"),
        ({"attribute": "gap"}, DataError, "sample 5: got nan"),
        ({"attribute": "skill"}, DataError, "allowed: 2 to 20"),
        ({"attribute": "town", "values": ["a", "x"]}, DataError, "allowed: a, b, c"),
        ({"attribute": [0, 1]}, DataError, "allowed: 512"),
        ({"attribute": object()}, InputError, "a column's name"),
        ({"attribute": "group", "by": ["magic"]}, UnknownNameError, "adversary, hsic"),
        ({"attribute": "group", "by": []}, InputError, "option by"),
        ({"attribute": "group", "strength": float("nan")}, InputError, "option strength"),
        ({"attribute": "group", "layer": "nowhere"}, InputError, "option layer"),
        ({"attribute": "group", "layer": "layers.0"}, InputError, "a later layer"),
        ({"attribute": "group", "beside": ["other"]}, UnknownNameError, "none is there yet"),
        ({"attribute": "group", "epochs": 0}, InputError, "above 0"),
        ({"attribute": "group", "epoch": 1}, InputError, "Did you mean 'epochs'"),
        ({"attribute": "group", "options": {"penalty": -1}}, InputError, "penalty"),
    ],
)
def test_what_cannot_be_is_refused(
    family: ct.Family, options: dict[str, Any], kind: type[ConcertinaError], says: str
) -> None:
    train, held = tables()
    with pytest.raises(kind, match=says):
        family.debias("x", train, held, **options)
    assert not len(family.modules)


def test_names_and_data_without_columns_are_refused(family: ct.Family) -> None:
    train, held = tables()
    plain = torch.utils.data.TensorDataset(train.inputs, train.labels)
    with pytest.raises(InputError, match="no table"):
        family.debias("x", plain, attribute="group")
    with pytest.raises(InputError, match="validation_attribute"):
        family.debias("x", train, held, attribute=train.column("group"))
    family.debias("x", train, attribute="group", epochs=0.5)
    with pytest.raises(InputError, match="a new one"):
        family.debias("x", train, attribute="group")


class Summed(nn.Module):
    """A network whose outputs no linear layer makes by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.two(self.one(x).relu())
        return made[:, :2] * made[:, 2:]


def test_a_network_without_such_a_layer_is_refused_until_one_is_named() -> None:
    core = ct.load(Summed(), torch.randn(2, 4))
    data = torch.utils.data.TensorDataset(torch.randn(64, 4), torch.arange(64) % 2)
    family = ct.fit(core, data, data, points=(0.5,), epochs=0.5)
    half = torch.arange(64) // 32
    with pytest.raises(AnalysisError, match="layer="):
        family.debias("x", data, attribute=half)
    assert family.debias("x", data, attribute=half, layer="two", epochs=1).module.facts["cleaned"] == "the input of two"
