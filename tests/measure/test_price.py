"""Time as a price: counted in MACs, and never falling as layers grow."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.measure.test_layer_times import GATED, MODEL
from tests.nest.test_growth import LinearCosts

from concertina.measure.layer_times import Between, LatencyModel, LayerTimes
from concertina.measure.layers import Layer
from concertina.measure.price import MACS_SHARE, latency_price

COSTS = LinearCosts(GATED, {"depth:b": 40, "width:s": 5})


def test_the_full_network_costs_its_macs_and_others_their_time() -> None:
    price, full = latency_price(MODEL, COSTS), GATED.full
    assert price(full) == pytest.approx(COSTS.macs(full))
    without = full.with_choice("depth:b", 0)
    by_time = COSTS.macs(full) * MODEL.milliseconds(without) / MODEL.milliseconds(full)
    assert price(without) == pytest.approx((1 - MACS_SHARE) * by_time + MACS_SHARE * COSTS.macs(without))


def test_a_noisy_table_gives_a_price_that_rises_with_every_size() -> None:
    noisy = LayerTimes(Layer("s", ("width:s",), ()), ((1, 4, 7, 10, 12),), (1.0, 3.0, 2.0, 2.5, 4.0))
    price = latency_price(LatencyModel(GATED, [noisy], Between(0.1, 1.0, 0.0)), COSTS)
    prices = [price(GATED.full.with_choice("width:s", width)) for width in range(1, 13)]
    assert all(small < large for small, large in pairwise(prices))


def test_a_layer_that_takes_no_time_still_costs_its_macs() -> None:
    price = latency_price(LatencyModel(GATED, [], Between(1.0, 1.0, 0.0)), COSTS)
    narrow = GATED.full.with_choice("width:s", 1)
    assert price(GATED.full) - price(narrow) == pytest.approx(
        MACS_SHARE * (COSTS.macs(GATED.full) - COSTS.macs(narrow))
    )
