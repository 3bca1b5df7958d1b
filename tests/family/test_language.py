"""The whole way for a language network: perplexity per point, generation at every point, search, a file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

import concertina as ct
from concertina.errors import DataError
from concertina.load.data import TensorData
from concertina.load.text import windows
from concertina.objective import Language
from concertina.score import CRITERIA, score

NETWORK = "zoo:tiny-decoder@context=12,width=16,depth=2,heads=2,inner=16"


def texts(seed: int, words: int = 400) -> TensorData:
    """Return windows of a language of four words; a word is foretold by the one before."""
    generator, said, word = torch.Generator().manual_seed(seed), [], 0
    for _ in range(words):
        word = (word + 1 + int(torch.rand(1, generator=generator) < 0.2)) % 4
        said.append(("ab ", "cde ", "fg ", "hij ")[word])
    return TensorData([windows(ct.open_tokenizer().text("".join(said)), 12, "texts")])


@cache
def family() -> ct.Family:
    core = ct.load(NETWORK, weights="random")
    settings = {"epochs": 6, "batch_size": 16, "optimizer": "adamw", "learning_rate": 0.01, "order": "criterion"}
    return ct.fit(core, texts(0), texts(1), points=(0.2, 0.4, 0.7), **settings)


def test_heads_feed_forward_stream_and_blocks_are_elastic() -> None:
    inside = {f"width:blocks.{i}.{part}" for i in (0, 1) for part in ("attention", "mlp.fc1")}
    found = {dim.name: dim.choices for dim in family().supernet.space.dims}
    assert set(found) == {"width:embed", "depth:blocks.0", "depth:blocks.1", *inside}
    assert found["width:blocks.0.attention"] == (1, 2)


def test_every_point_foretells_better_than_the_untrained_core() -> None:
    made = family()
    figures = {point.name: dict(point.metrics) for point in made.points}
    assert made.points.core["perplexity"] > 100
    assert all(set(found) == {"perplexity"} and found["perplexity"] < 50 for found in figures.values())
    assert figures["p100"]["perplexity"] < 6
    bits = {r.spec: r for r in made.records if r.metric == "bits_per_byte"}
    assert len(bits) == 5
    assert "perplexity" in repr(made.points)


def test_a_full_point_that_has_lost_is_told_of_and_one_that_has_won_is_not() -> None:
    made = family()
    assert made.warnings == ()
    better = ct.Family(made.core, made.supernet, task=made.task)
    full = made.points[-1].spec.text
    swap = {"core": full, full: "core"}
    better.add_records([_renamed(r, swap.get(r.spec, r.spec)) for r in made.records])
    assert "has lost against the core: perplexity" in better.warnings[0]


def _renamed(record: ct.Record, spec: str) -> ct.Record:
    return ct.Record(
        spec, record.metric, record.value, record.unit, record.n, record.low, record.high, data=record.data
    )


def uncached(module: torch.nn.Module, ids: torch.Tensor, num_tokens: int) -> list[int]:
    """Return what is written when the whole text is read anew for every token."""
    for _ in range(num_tokens):
        with torch.no_grad():
            ids = torch.cat([ids, module(ids[None])[0, -1:].argmax(-1)])
    return ids.tolist()


def test_generation_is_the_same_with_and_without_a_cache_at_every_point_and_between(tmp_path: Path) -> None:
    made, ids = family(), ct.open_tokenizer().text("hij ab ")
    space = made.supernet.space
    specs = [space.smallest, space.full]
    specs += [space.full.with_choice(dim.name, dim.choices[0]) for dim in space.dims]
    subnets = [made.view(point.name) for point in made.points]
    subnets += [made.supernet.subnet(space.check(spec)) for spec in specs]
    subnets += [ct.materialize(made.at(0.4))]
    assert {spec[dim.name] for spec in specs for dim in space.dims if dim.is_gate} == {0, 1}
    for subnet in subnets:
        assert ct.generate(subnet, ids, 25).tolist() == uncached(subnet, ids, 25)
    assert ct.open_tokenizer().decode(ct.generate(made.at(1.0), ids, 6)).startswith("hij ab cde ")


def test_a_file_brings_the_same_points_back(tmp_path: Path) -> None:
    made = family()
    made.save(tmp_path / "l.concertina")
    opened, ids = ct.open(tmp_path / "l.concertina"), ct.open_tokenizer().text("fg ")
    assert opened.task.metric.direction == "min"
    assert torch.equal(ct.generate(opened.at(0.4), ids, 9), ct.generate(made.at(0.4), ids, 9))
    [record, *_] = opened.measure(texts(2), points=["p40"])
    assert (record.metric, record.n) == ("perplexity", len(texts(2)))


def test_a_search_takes_the_bound_as_the_largest_perplexity() -> None:
    worst = dict(family().points[1].metrics)["perplexity"]
    found = ct.search(
        family(), texts(3), calibrate=texts(0), min_accuracy=worst, strategy="random", trials=12, samples=32
    )
    assert all(dict(point.metrics)["perplexity"] <= worst for point in found.points)
    assert any(found.goal.accepts(trial) for trial in found.trials)
    assert any(not found.goal.accepts(trial) for trial in found.trials)
    best = max(found.front, key=lambda trial: trial.score)
    assert best.value == min(trial.value for trial in found.front)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (TensorData([torch.full((4, 12), 300)]), "does not run on the data"),
        (TensorData([torch.tensor([[5] * 12] * 3 + [[7] * 11 + [256]])]), "does not run on the data"),
        (TensorDataset(torch.ones(4, 12, dtype=torch.int64), torch.ones(4)), "fields of a sample: got 2; allowed: 1"),
        (TensorData([torch.full((4, 12), -1)]), "tokens of a sample"),
    ],
)
def test_data_that_does_not_fit_is_refused_before_training(data: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        ct.fit(ct.load(NETWORK, weights="random"), data, epochs=1)


@pytest.mark.parametrize("criterion", CRITERIA.names())
def test_every_criterion_rates_heads_and_channels_of_a_language_network(criterion: str) -> None:
    made, task = family(), Language()
    assert made.graph is not None
    core = ct.load(NETWORK, weights="random")
    found = score(core, made.graph, task, [(texts(0).tensors[0][:8],)], criterion=criterion)
    assert set(found.units) == {group.name for group in made.graph.elastic_groups}
    assert all(bool((rated > 0).any()) for rated in found.units.values())
    assert set(found.blocks) == {"blocks.0", "blocks.1"}
