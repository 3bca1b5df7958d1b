"""Layers written as two: what the pair computes, which ranks it gets, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.analyse.networks import core_of
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse import analyse
from concertina.analyse.factored import Factored
from concertina.analyse.factorize import factorize_core
from concertina.analyse.rewriting import WAYS, put_rewritten
from concertina.errors import AnalysisError, InputError, LoadError
from concertina.types import Core, Rewrite


class Net(nn.Module):
    """Convolutions of several kinds, linear layers, and what cannot be factorised."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(24, 32, (3, 5), padding=(1, 2), dilation=(1, 1), bias=False)
        self.point = nn.Conv2d(32, 32, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.fc1, self.fc2 = nn.Linear(32, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.point(F.relu(self.wide(F.relu(self.stem(x))))))
        return self.fc2(F.relu(self.fc1(self.depthwise(x).mean((2, 3)))))


class Reads(nn.Module):
    """A network that reads a weight by itself, beside the layer's call."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(32, 48), nn.Linear(48, 48), nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.fc2, nn.Linear):
            raise TypeError("only plain layers here")
        return self.head(self.fc2(F.relu(self.fc1(x))))


def images(count: int = 32) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(3)).cumsum(2)


def net() -> Core:
    torch.manual_seed(0)
    return core_of(Net(), 2, 3, 12, 12)


def error(core: Core, changed: Core, inputs: Tensor) -> float:
    with torch.no_grad():
        wanted, ours = core.module(inputs), changed.module(inputs)
    return float((wanted - ours).norm() / wanted.norm())


@pytest.mark.parametrize(
    ("layer", "scheme", "shape"),
    [
        (nn.Linear(20, 30), "linear", (4, 20)),
        (nn.Linear(30, 20, bias=False), "linear", (2, 3, 30)),
        (nn.Conv2d(8, 12, 3, padding=1), "channel", (2, 8, 9, 9)),
        (nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), "spatial", (2, 8, 9, 9)),
        (nn.Conv2d(6, 10, (3, 5), stride=(1, 2), padding=(1, 2), dilation=(2, 1)), "spatial", (2, 6, 11, 11)),
        (nn.Conv2d(6, 10, (3, 5), stride=(1, 2), padding=(1, 2), dilation=(2, 1)), "channel", (2, 6, 11, 11)),
    ],
)
def test_a_pair_of_full_rank_is_the_layer(layer: Any, scheme: str, shape: tuple[int, ...]) -> None:
    from concertina.analyse.decompose import decomposed

    rank = min(WAYS.get(scheme)().limits(layer))
    x = torch.randn(*shape)
    moment = torch.eye(WAYS.get(scheme)().limits(layer)[1]).double()
    for given in (None, moment * 3.0):
        pair, kept = decomposed(layer, Rewrite(scheme, rank), given)
        torch.testing.assert_close(pair(x), layer(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(pair.weight, layer.weight, rtol=1e-4, atol=1e-5)
        assert kept == pytest.approx(1.0)


@pytest.mark.parametrize("conv", ["channel", "spatial"])
def test_layers_fall_to_where_they_cost_no_more(conv: str) -> None:
    from concertina.measure.cost import CostModel
    from concertina.types import Space

    core = net()
    found = factorize_core(core, conv=conv)
    assert {"wide", "fc1"} <= set(found.core.rewritten)
    assert "depthwise" not in found.core.rewritten
    dense, pairs = (CostModel.of(m, core.example_inputs, Space(())).full() for m in (core.module, found.core.module))
    assert 0.75 * dense < pairs <= dense
    assert found.core.fingerprint == core.fingerprint
    assert found.core.teacher is core.module


def test_data_keeps_more_of_the_outputs_than_weights_alone() -> None:
    core, inputs = net(), images()
    blind, seeing = (factorize_core(core, batches=batches).core for batches in ((), [(inputs[:16],), (inputs[16:],)]))
    assert error(core, seeing, images(64)) < 0.8 * error(core, blind, images(64))


def test_ranks_are_sorted_by_what_they_add() -> None:
    core = net()
    pair = factorize_core(core, layers=["fc1"]).core.module.get_submodule("fc1")
    assert isinstance(pair, Factored)
    reduce, expand = (pair.get_submodule(name).weight for name in ("reduce", "expand"))
    assert isinstance(reduce, Tensor)
    assert isinstance(expand, Tensor)
    adds = (reduce.norm(dim=1) * expand.norm(dim=0)).tolist()
    assert adds == sorted(adds, reverse=True)


def test_ranks_become_verified_groups_beside_widths() -> None:
    found = factorize_core(net())
    graph = analyse(found.core)
    groups = {group.name: group for group in graph.groups}
    for path, factor in found.core.rewritten.items():
        assert groups[f"{path}.reduce"].elastic
        assert groups[f"{path}.reduce"].units == factor.rank
    assert groups["fc1.expand"].elastic
    assert set(graph.factored) == set(found.core.rewritten)


def test_layers_that_lose_much_stay() -> None:
    found = factorize_core(net(), energy=0.85)
    assert found.kept
    assert all(kept >= 0.85 for kept in found.kept.values())
    assert any("of its energy" in why for why in found.left.values())


def test_a_layer_that_the_network_looks_into_stays() -> None:
    torch.manual_seed(0)
    found = factorize_core(core_of(Reads(), 2, 32))
    assert set(found.core.rewritten) == {"fc1"}
    assert "other ways than calling it" in found.left["fc2"]


def test_shared_weights_stay() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 48))
    module[2].weight = module[0].weight
    found = factorize_core(core_of(module, 2, 32))
    assert set(found.core.rewritten) == {"4"}
    assert found.left["0"] == found.left["2"] == "its weight is shared"


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.head = nn.Embedding(400, 24), nn.Linear(24, 32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.fc(self.embed(x).mean(1))))


def text(count: int) -> Tensor:
    return (torch.rand(count, 20, generator=torch.Generator().manual_seed(1)) ** 4 * 400).long()


def test_frequent_words_lose_least() -> None:
    torch.manual_seed(0)
    core = core_of(Words(), inputs=[text(4)])
    found = factorize_core(core, tables=0.5, batches=[(text(200),)]).core
    factor, table = found.rewritten["embed"], found.module.get_submodule("embed")
    assert sum(words for words, _ in factor.groups) == 400
    assert sum(words * rank + rank * 24 for words, rank in factor.groups) <= 0.5 * 400 * 24
    assert factor.groups[0][1] > factor.groups[-1][1]
    counts = torch.bincount(text(200).flatten(), minlength=400)
    words = torch.argsort(counts, descending=True)
    dense = core.module.get_submodule("embed").weight
    assert isinstance(dense, Tensor)
    off = ((table(words) - dense[words]).norm(dim=1) / dense[words].norm(dim=1)).detach()
    assert float(off[:100].mean()) < 0.6 * float(off[300:].mean())
    torch.testing.assert_close(table.weight[words], table(words))
    assert error(core, found, text(64)) < 0.5


def test_a_table_in_groups_is_elastic_in_rank_and_width() -> None:
    torch.manual_seed(0)
    found = factorize_core(core_of(Words(), inputs=[text(4)]), tables=0.5, batches=[(text(50),)])
    groups = {group.name: group for group in analyse(found.core).groups}
    assert all(groups[f"embed.groups.{i}.reduce"].elastic for i in range(4))
    assert groups["embed.groups.0.expand"].elastic


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": ["fc3"]}, "option layers: got 'fc3'; allowed: modules. Did you mean 'fc"),
        ({"layers": "fc1"}, "option layers: got 'fc1'; allowed: a list"),
        ({"conv": "svd"}, "option conv: got 'svd'; allowed: channel, spatial"),
        ({"energy": 1.5}, "option energy: got 1.5; allowed: 0 to below 1"),
        ({"tables": True}, "option tables: got True"),
    ],
)
def test_odd_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        factorize_core(net(), **options)


def test_what_is_factorised_is_not_factorised_again() -> None:
    with pytest.raises(InputError, match="one that is factorised"):
        factorize_core(factorize_core(net()).core)


def test_a_network_without_such_layers_is_refused() -> None:
    with pytest.raises(AnalysisError, match=r"no layer of this network can be factorised: got fc2: .* too small"):
        factorize_core(net(), layers=["fc2"])


@pytest.mark.parametrize(
    ("path", "factor", "words"),
    [
        ("nowhere", Rewrite("linear", 4), "no module of this name"),
        ("fc1", Rewrite("spatial", 4), "got Linear"),
        ("fc1", Rewrite("os.system", 4), "a layer for the way 'os.system'"),
        ("fc1", Rewrite("linear", 10**9), "rank of layer 'fc1': got 1000000000; allowed: 1 to 32"),
    ],
)
def test_pairs_that_a_network_cannot_have_are_refused(path: str, factor: Rewrite, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        put_rewritten(Net(), {path: factor})


def test_groups_of_words_that_do_not_fill_the_table_are_refused() -> None:
    for groups in (((100, 4),), ((400, 10**6),), ()):
        with pytest.raises(LoadError, match="groups of an embedding table"):
            put_rewritten(Words(), {"embed": Rewrite("grouped", 12, groups)})
