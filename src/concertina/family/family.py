"""The Family: what users hold. Thin, over everything below."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from concertina.errors import PointError
from concertina.export import EAGER
from concertina.family.dial import Budget, largest_that_fits, one_budget, point_called, refuse_off_point
from concertina.family.persist import Opened, save_family
from concertina.family.points import Points
from concertina.family.runtimes import point_runners, repeated
from concertina.load.data import as_data, batches
from concertina.measure.latency import is_of_setting, latency, setting
from concertina.measure.machine import machine_fingerprint
from concertina.nest import Supernet
from concertina.objective.base import TASKS, Task
from concertina.save import WriteReport
from concertina.train import calibrate
from concertina.types import Core, Graph, Point, Record, SubnetSpec

log = logging.getLogger("concertina")

CALIBRATION_BATCH = 128


@dataclass(frozen=True)
class Evidence:
    """What was measured and what it was measured against; travels with the family."""

    records: tuple[Record, ...] = ()
    core_predictions: tuple[int, ...] = ()
    """The core's predicted classes on the evaluation set, in its order."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """How the family came about: recipe, epochs, seeds, data fingerprints, cost."""


class Family:
    """A core and all its subnets, switched by moving along the growth order.

    Made by `fit` or `open`. `at` gives subnets: ordinary modules whose tensors are views of one storage.

    Args:
        core: The core's facts (source, task, class names, preprocessing); its module is not used.
        supernet: The sorted network, its growth order and operating points.
        graph: Groups and blocks as analysed, for reports; a file keeps only what it needs.
        evidence: Records and provenance.
        opened: The file it was read from, when it was.
        task: The task; the one registered under the core's task name unless given.
    """

    def __init__(
        self,
        core: Core,
        supernet: Supernet,
        *,
        graph: Graph | None = None,
        evidence: Evidence | None = None,
        opened: Opened | None = None,
        task: Task | None = None,
    ) -> None:
        self.core, self.supernet, self.graph = core, supernet, graph
        self.evidence = evidence or Evidence()
        self.task = task or TASKS.get(core.task)(core.class_names, core.preprocess)  # type: ignore[call-arg]
        self._opened = opened
        self._views: dict[str, nn.Module] = {}
        self._lock = threading.Lock()

    @property
    def points(self) -> Points:
        """The operating points that are here, smallest first; prints as a table."""
        return Points(self.supernet.points.values())

    @property
    def records(self) -> tuple[Record, ...]:
        """Every measured figure."""
        return self.evidence.records

    def at(
        self, share: float | SubnetSpec | None = None, *, calibrate: Any = None, **budget: Unpack[Budget]
    ) -> nn.Module:
        """Return the largest operating point that fits a budget, as an ordinary module of views.

        Args:
            share: Share of the core's MACs, above 0 and up to 1; or a spec.
            calibrate: Data (as `fit` takes it) to make a new operating point of exactly this share or spec.
            **budget: One of macs=, params=, size_bytes=, point=, or latency_ms= with batch= and threads=.

        Returns:
            The subnet in eval mode. Asking again gives the same object. `.materialize()` gives a free copy.

        Raises:
            BudgetError: Nothing fits; the text names the smallest possible budget.
            PointError: The spec or name is no operating point and there is no data to calibrate it.
            SpecError: The spec does not belong to this family.
        """
        return self.view(self.choose(share, calibrate=calibrate, **budget).name)

    def choose(
        self, share: float | SubnetSpec | None = None, *, calibrate: Any = None, **budget: Unpack[Budget]
    ) -> Point:
        """Return the operating point that `at` would build; arguments and errors as there."""
        if isinstance(share, SubnetSpec):
            return self._of_spec(share, calibrate)
        kind, limit = one_budget(share, budget)
        if kind == "point":
            return point_called(self.points, str(limit))
        if calibrate is not None:
            return self._calibrated(kind, limit, calibrate)
        latencies = None
        if kind == "latency_ms":
            latencies = self.latencies_ms(batch=budget.get("batch", 1), threads=budget.get("threads"))
        return largest_that_fits(self.points, kind, limit, latencies)  # type: ignore[arg-type]

    def view(self, name: str) -> nn.Module:
        """Return the resident view of an operating point, built at the first call.

        Raises:
            PointError: There is no point of that name.
        """
        point = point_called(self.points, name)
        with self._lock:
            if point.name not in self._views:
                self._views[point.name] = self.supernet.at_point(point.name)
            return self._views[point.name]

    def latencies_ms(self, *, batch: int = 1, threads: int | None = None) -> dict[str, float]:
        """Return point name -> median milliseconds of one call on this machine; measured where no Record has it."""
        threads = threads or torch.get_num_threads()
        scope, machine = setting(batch, threads), machine_fingerprint()

        def known() -> dict[str, float]:
            return {
                record.spec: record.value
                for record in self.records
                if record.metric == "latency_ms_median"
                and record.machine == machine
                and is_of_setting(record.scope, scope)
            }

        if any(point.spec.text not in known() for point in self.points):
            log.warning("measuring the latency of %d points on this machine (%s)", len(self.points), scope)
            self.measure_latency(batch=batch, threads=threads)
        found = known()
        return {point.name: found[point.spec.text] for point in self.points}

    def measure_latency(
        self, *, batch: int = 1, threads: int | None = None, time_limit_s: float = 20.0, runtime: str = EAGER
    ) -> list[Record]:
        """Measure every point side by side, keep the Records and return them.

        Args:
            batch: Inputs in one call.
            threads: Threads of the call; as torch is set unless said.
            time_limit_s: Stop after this long, with the samples there are.
            runtime: "eager" for torch itself, or the exporter whose runtime is to be timed: "onnx", "openvino".

        Raises:
            UnknownNameError: No such runtime.
            ExtraError: The runtime is not installed.
            ExportError: A point cannot be exported or comes out wrong.
        """
        threads = threads or torch.get_num_threads()
        inputs = tuple(repeated(tensor, batch) for tensor in self.core.example_inputs)
        with point_runners(self, runtime, inputs, threads) as runners:
            timed = latency(runners, time_limit_s=time_limit_s, threads=threads, batch=batch)
        label = "" if runtime == EAGER else runtime
        results = {point: replace(timed[point.name], runtime=label) for point in self.points}
        found = [record for point, result in results.items() for record in result.to_records(point.spec.text)]
        self.add_records(found)
        return found

    def add_records(self, records: Sequence[Record]) -> None:
        """Add Records; one of the same spec, metric, scope, machine and data gives way."""
        fresh = {_record_key(record): record for record in (*self.records, *records)}
        self.evidence = Evidence(tuple(fresh.values()), self.evidence.core_predictions, self.evidence.provenance)

    def save(self, path: str | Path) -> WriteReport:
        """Write the family to one file, whole or not at all.

        Raises:
            StorageError: The disk refuses; what was there before is untouched.
            PointError: Only a part of the family is here (opened with upto=).
        """
        if self._opened is not None and not self._opened.complete:
            raise PointError("only a part of this family is here", do="Call grow() first.")
        return save_family(
            Path(path),
            self.core,
            self.supernet,
            self.evidence.records,
            core_predictions=self.evidence.core_predictions,
            provenance=self.evidence.provenance,
        )

    def grow(self, upto: str | float | None = None) -> Points:
        """Read more of the file this family was opened from; views handed out before stay valid.

        Args:
            upto: Name or share of the point to reach; the whole file unless said.

        Returns:
            The points that are here now.

        Raises:
            PointError: The family was not opened from a file, or the file has no such point.
            FormatError: The file is damaged or ends too early.
        """
        if self._opened is None:
            raise PointError("this family was not opened from a file", do="All of its points are here already.")
        self._opened.grow(self.supernet, upto)
        return self.points

    def _of_spec(self, spec: SubnetSpec, data: Any) -> Point:
        spec = self.supernet.space.check(spec)
        for point in self.points:
            if point.spec == spec:
                return point
        if data is None:
            costs = self.supernet.costs
            whole = costs.macs(self.supernet.space.full)
            raise refuse_off_point(self.points, costs.macs(spec), whole, f"subnet {spec.digest}")
        return self._promote(f"x-{spec.digest}", spec, -1, data)

    def _calibrated(self, kind: str, limit: object, data: Any) -> Point:
        """Return the largest prefix of the growth order that fits, calibrated on data."""
        order = self.supernet.order
        candidates = [self.supernet.point(f"at{i}", order.spec(i), i) for i in range(len(order) + 1)]
        if kind == "latency_ms":
            raise PointError("a latency cannot be calibrated to", do="Give a share, macs=, params= or size_bytes=.")
        best = largest_that_fits(candidates, kind, limit)  # type: ignore[arg-type]
        for point in self.points:
            if point.spec == best.spec:
                return point
        return self._promote(f"p{100 * best.share:.4g}", best.spec, best.position, data)

    def _promote(self, name: str, spec: SubnetSpec, position: int, data: Any) -> Point:
        """Calibrate a spec on data and keep it as an operating point."""
        held = as_data(data, self.core.class_names)
        task = self.task
        fresh = self.supernet.fresh_private(spec)
        private = calibrate(self.supernet, spec, fresh, task, batches(held, CALIBRATION_BATCH))
        with self._lock:
            self.supernet.add(self.supernet.point(name, spec, position), private)
        return self.supernet.points[name]

    def __repr__(self) -> str:
        listed = ", ".join(f"{point.name} {point.macs:,} MACs" for point in self.points)
        return f"Family({self.core.source}, {len(self.points)} points: {listed})"


def _record_key(record: Record) -> tuple[str, ...]:
    return (record.spec, record.metric, record.scope, record.machine, record.data)
