"""Scores by class: asked for in a fit, kept in the file with 8 bits, absent from files without."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.family.subjects import digits
from torch import nn

import concertina as ct
from concertina.cli import main
from concertina.errors import DataError, FormatError, InputError
from concertina.family import Family
from concertina.family.class_scores import MAX_SCORES, from_table, to_table
from concertina.nest import graph_of
from concertina.score import CRITERIA
from concertina.types import ClassScores

BY_DATA = [name for name in CRITERIA.names() if CRITERIA.get(name).needs_data]


@cache
def rated(criterion: str = "taylor", **options: Any) -> Family:
    core = ct.load("zoo:mlp")
    return ct.fit(core, digits(), points=(0.2,), epochs=0, criterion=criterion, class_scores=True, **options)


def scores(criterion: str = "taylor") -> ClassScores:
    found = rated(criterion).class_scores
    assert found is not None
    return found


@cache
def bare() -> Family:
    return ct.fit(ct.load("zoo:mlp"), digits(), points=(0.2,), epochs=0, criterion="taylor")


@pytest.mark.parametrize("criterion", BY_DATA)
def test_every_criterion_that_reads_data_rates_every_unit_for_every_class(criterion: str) -> None:
    found = scores(criterion)
    sizes = {group.name: group.units for group in graph_of(rated(criterion).supernet.space).elastic_groups}
    assert {name: tuple(rows.shape) for name, rows in found.units.items()} == {n: (10, u) for n, u in sizes.items()}
    assert found.class_names == tuple("0123456789")
    for rows in found.units.values():
        assert bool((rows >= 0).all())
        assert not torch.allclose(rows[0], rows[1])
    if not found.is_loss:
        assert all(torch.allclose(rows.sum(1), torch.ones(10), atol=1e-4) for rows in found.units.values())


@pytest.mark.parametrize("criterion", ["taylor", "hessian", "relevance"])
def test_the_unit_that_a_class_goes_through_is_its_most_important(criterion: str) -> None:
    """Class c is input c, by way of hidden unit c alone: at first in that order, then as the family sorts them."""
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        for layer in (network[0], network[2]):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[range(4), range(4)] = 1.0
    labels = torch.arange(64) % 4
    generator = torch.Generator().manual_seed(0)
    inputs = 2 * nn.functional.one_hot(labels, 4) + 0.1 * torch.rand(64, 4, generator=generator)
    core = ct.load(network, torch.randn(2, 4), class_names=list("abcd"))
    made = ct.fit(core, [(inputs, labels)], points=(0.5,), epochs=0, criterion=criterion, class_scores=True)
    assert made.class_scores is not None
    ((name, rows),) = made.class_scores.units.items()
    assert made.supernet.permutations[name][rows.argmax(1)].tolist() == [0, 1, 2, 3]
    assert torch.equal(made.class_scores.of(["b", "d"]).units[name], rows[[1, 3]].mean(0))


def test_a_file_keeps_them_within_an_eighth_bit(tmp_path: Path) -> None:
    report = rated().save(tmp_path / "rated.concertina")
    again = ct.open(tmp_path / "rated.concertina").class_scores
    assert again is not None
    for name, rows in scores().units.items():
        assert bool(((again.units[name] - rows).abs() <= rows.amax(1, keepdim=True) / 509).all())
    for path, rises in scores().blocks.items():
        torch.testing.assert_close(again.blocks[path], rises)
    assert (again.criterion, again.is_loss, again.class_names) == ("taylor", True, scores().class_names)
    assert (again.samples, again.data_fingerprint) == (scores().samples, digits().fingerprint)
    units = sum(rows.numel() for rows in scores().units.values())
    most = 4 / 3 * (units + 4 * 10 * (len(scores().units) + len(scores().blocks))) + 2000
    assert 0 < report.tables_bytes - bare().save(tmp_path / "bare.concertina").tables_bytes < most


def test_families_without_them_say_so_and_open(tmp_path: Path) -> None:
    assert bare().class_scores is None
    bare().save(tmp_path / "bare.concertina")
    assert ct.open(tmp_path / "bare.concertina").class_scores is None


def test_a_family_trained_further_is_rated_anew() -> None:
    core = ct.load("zoo:mlp")
    more = ct.fit(core, digits(), start=rated(), epochs=0.2, batch_size=32, class_scores=True)
    assert more.class_scores is not None
    assert more.class_scores.criterion == "taylor"
    assert any(not torch.equal(rows, scores().units[name]) for name, rows in more.class_scores.units.items())
    assert ct.fit(core, digits(), start=rated(), epochs=0.2, batch_size=32).class_scores is None


@pytest.mark.parametrize("criterion", sorted(set(CRITERIA.names()) - set(BY_DATA)))
def test_criteria_without_data_refuse_by_name(criterion: str, tmp_path: Path, capsys: Any) -> None:
    core = ct.load("zoo:mlp")
    with pytest.raises(InputError, match=f"criterion for scores by class: got '{criterion}', which reads no data"):
        ct.fit(core, digits(), epochs=0, criterion=criterion, class_scores=True)
    words = ["fit", "zoo:mlp", "--data", "zoo:digits@train", "-o", str(tmp_path / "out"), "--class-scores"]
    assert main([*words, "--criterion", criterion]) == 2
    assert capsys.readouterr().err.count("error: ") == 1
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_rated_by_class_is_refused_before_training() -> None:
    core = ct.load("zoo:mlp")
    some = digits().subset([i for i, label in enumerate(digits().labels.tolist()) if label != 4])
    with pytest.raises(DataError, match="classes without samples: 4: got 0 "):
        ct.fit(core, some, class_scores=True)
    nameless = ct.load(core.module, core.example_inputs)
    with pytest.raises(InputError, match="scores by class: got a network without class names"):
        ct.fit(nameless, digits(), class_scores=True)
    with pytest.raises(InputError, match="option class_scores: got 'yes'"):
        ct.fit(core, digits(), class_scores="yes")  # type: ignore[arg-type]


def test_the_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_SCORES == 2**23
    monkeypatch.setattr("concertina.family.class_scores.MAX_SCORES", 1000)
    with pytest.raises(InputError, match=r"scores by class: got 10 classes of .* units; allowed: 1,000 scores in all"):
        ct.fit(ct.load("zoo:mlp"), digits(), class_scores=True)


@pytest.mark.parametrize(
    "change",
    [
        {"groups": {}},
        {"groups": {"other": [np.zeros((10, 4), np.uint8), np.zeros(10, np.float32)]}},
        {"blocks": {"other": np.zeros(10, np.float32)}},
        {"blocks": []},
        {"criterion": ""},
        {"is_loss": 1},
        {"samples": -1},
        {"more": 1},
    ],
)
def test_a_table_that_is_not_as_the_format_says_is_refused(change: dict[str, Any]) -> None:
    table = to_table(scores()) | change
    with pytest.raises(FormatError, match="class scores"):
        from_table(table, rated().core, rated().supernet)


def test_scores_of_another_shape_or_without_end_are_refused() -> None:
    table = to_table(scores())
    name = next(iter(table["groups"]))
    levels, scales = table["groups"][name]
    for bad in ([levels[:, 1:], scales], [levels, scales * np.inf], [levels.astype(np.float32), scales], [levels]):
        with pytest.raises(FormatError, match="class scores of"):
            from_table(table | {"groups": table["groups"] | {name: bad}}, rated().core, rated().supernet)
