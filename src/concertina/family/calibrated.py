"""Subnets between the operating points: calibrated on a user's data, by spec and data, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from concertina.errors import PointError
from concertina.family.dial import largest_that_fits
from concertina.family.samples import calibration_batches
from concertina.load.data import TensorData
from concertina.nest import Supernet, inherited_private
from concertina.objective.base import Task
from concertina.train import calibrate
from concertina.types import Point, SubnetSpec

MOST = 16
"""Calibrated subnets that stay resident; the one asked for longest ago goes first."""


@dataclass(frozen=True, eq=False)
class CalibratedSubnet:
    """A subnet with statistics from a user's data."""

    private: dict[str, Tensor]
    module: nn.Module


class Calibrated:
    """The calibrated subnets of a family: equal spec and equal data give the same object."""

    def __init__(self) -> None:
        self._held: dict[tuple[SubnetSpec, str], CalibratedSubnet] = {}
        self._lock = threading.Lock()

    def get(self, spec: SubnetSpec, data: TensorData, make: Callable[[], CalibratedSubnet]) -> CalibratedSubnet:
        """Return the subnet of `spec` calibrated on `data`, made at the first call."""
        key = (spec, data.fingerprint)
        with self._lock:
            found = self._held.pop(key, None) or make()
            self._held[key] = found
            while len(self._held) > MOST:
                self._held.pop(next(iter(self._held)))
            return found


def calibrated_subnet(supernet: Supernet, spec: SubnetSpec, task: Task, data: TensorData) -> CalibratedSubnet:
    """Return a subnet with statistics from `data`, sampled and augmented as after training.

    A spec that is an operating point starts from that point's private tensors, any other from those nearest to it.
    """
    own = next((name for name, point in supernet.points.items() if point.spec == spec), "")
    start = supernet.private.get(own) or inherited_private(supernet, spec)
    private = calibrate(supernet, spec, start, task, calibration_batches(task, data))
    return CalibratedSubnet(private, supernet.subnet(spec, private))


def spec_within(supernet: Supernet, kind: str, limit: object) -> tuple[SubnetSpec, int]:
    """Return the largest prefix of the growth order within a budget, and its position.

    Raises:
        PointError: The budget is a latency: how long a subnet takes is only known once there is one.
        BudgetError: No prefix is that small.
    """
    if kind == "latency_ms":
        raise PointError("latency_ms= with calibrate=", allowed="a share, a spec, macs=, params=, size_bytes=, point=")
    order = supernet.order
    candidates = [supernet.point(f"position {i}", order.spec(i), i) for i in range(len(order) + 1)]
    best: Point = largest_that_fits(candidates, kind, limit)  # type: ignore[arg-type]
    return best.spec, best.position
