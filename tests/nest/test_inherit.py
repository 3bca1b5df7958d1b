"""New subnets start from what the points near them have learnt."""

from __future__ import annotations

import pytest
import torch

import concertina as ct
from concertina.nest import Supernet, inherited_private


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    core = ct.load("zoo:digits-cnn")
    data = ct.open_data("zoo:digits@validation", preprocess=core.preprocess)
    made = ct.prepare(core, data, points=(0.1, 0.5, 1.0), criterion="magnitude-l1").supernet
    with torch.no_grad():
        for name, value in (("p10", 10.0), ("p50", 50.0)):
            for tensor in made.private[name].values():
                tensor.fill_(value)
    return made


def test_a_point_gives_its_own_and_the_full_network_the_shared_ones(supernet: Supernet) -> None:
    ten = inherited_private(supernet, supernet.points["p10"].spec)
    assert all(bool((tensor == 10).all()) for tensor in ten.values())
    full = inherited_private(supernet, supernet.space.full)
    shared = supernet.fresh_private(supernet.space.full)
    assert all(torch.equal(full[name], shared[name]) for name in shared)


def test_a_neighbour_takes_nearly_all_from_the_point_and_the_rest_from_the_shared_ones(supernet: Supernet) -> None:
    spec = supernet.points["p50"].spec
    dim = next(dim for dim in supernet.space.dims if not dim.is_gate and spec[dim.name] < dim.original)
    wider = spec.with_choice(dim.name, dim.choices[dim.choices.index(spec[dim.name]) + 1])
    private, fresh = inherited_private(supernet, wider), supernet.fresh_private(wider)
    grown = [n for n, tensor in private.items() if len(tensor) > len(supernet.private["p50"].get(n, tensor))]
    kept = supernet.private["p50"]
    assert grown
    for name in grown:
        assert bool((private[name][: len(kept[name])] > 45).all())
        assert torch.equal(private[name][len(kept[name]) :], fresh[name][len(kept[name]) :])


def test_a_subnet_far_from_all_points_has_the_shared_ones(supernet: Supernet) -> None:
    private = inherited_private(supernet, supernet.space.smallest)
    fresh = supernet.fresh_private(supernet.space.smallest)
    far = max(float((private[name] - fresh[name]).detach().abs().max()) for name in fresh)
    assert far < 2
    assert all(
        isinstance(private[name], torch.nn.Parameter) == isinstance(fresh[name], torch.nn.Parameter) for name in fresh
    )
