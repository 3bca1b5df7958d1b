"""A subnet's time on this machine as the price that growth orders reckon with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from concertina.measure.layer_times import LatencyModel, LayerTimes
from concertina.nest import Costs, Price
from concertina.types import SubnetSpec

MACS_SHARE = 0.1
"""Share of the price that goes by MACs, so that no step is free, however coarse the clock."""


def latency_price(model: LatencyModel, costs: Costs) -> Price:
    """Return the price of subnets: nine tenths their time by a table, one tenth their MACs, counted in MACs.

    The full network costs its MACs. Larger layers never count as faster than smaller ones: what the table says
    otherwise is noise, or can be had by padding.

    Args:
        model: Latencies measured on the machine.
        costs: MACs of a spec.
    """
    rising = LatencyModel(model.space, [_rising(times) for times in model.layers], model.between)
    full = model.space.full
    macs_per_ms = costs.macs(full) / max(rising.milliseconds(full), 1e-9)

    def price(spec: SubnetSpec) -> float:
        """Return the price of a spec, in MACs."""
        return (1 - MACS_SHARE) * macs_per_ms * rising.milliseconds(spec) + MACS_SHARE * costs.macs(spec)

    return price


def _rising(times: LayerTimes) -> LayerTimes:
    """Return a layer's times made to rise with each size: midway between the least rise above and below them."""
    table = np.array(times.times_ms).reshape([len(sizes) for sizes in times.sizes])
    for axis in range(table.ndim):
        above = np.maximum.accumulate(table, axis)
        below = np.flip(np.minimum.accumulate(np.flip(table, axis), axis), axis)
        table = (above + below) / 2
    return replace(times, times_ms=tuple(map(float, table.reshape(-1))))
