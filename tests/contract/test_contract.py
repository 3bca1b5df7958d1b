"""The contract suite over every axis and every kind of network of the zoo."""

from __future__ import annotations

from functools import cache

import pytest

import concertina as ct
from concertina.axes import AXES
from concertina.testing import CHECKS, Subject, make_subject

NETWORKS = {
    "mlp": "zoo:mlp",
    "digits-cnn": "zoo:digits-cnn",
    "cifar-resnet": "zoo:cifar-resnet20",
    "tiny-vit": "zoo:tiny-vit",
    "factorised-mlp": "zoo:mlp",
}


@cache
def subject(network: str) -> Subject:
    weights = "random" if network == "cifar-resnet" else None
    core = ct.load(NETWORKS[network], weights=weights)
    return make_subject(ct.factorize(core) if network.startswith("factorised") else core)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("axis", AXES.names())
@pytest.mark.parametrize("network", NETWORKS)
def test_contract(network: str, axis: str, check: str) -> None:
    CHECKS[check](subject(network), axis)
    assert network in NETWORKS
