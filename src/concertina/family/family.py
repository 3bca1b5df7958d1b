"""The Family: what users hold. Thin, over everything below."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from concertina.errors import PointError
from concertina.export import EAGER
from concertina.family.audits import Audited, AuditOptions, audit_family
from concertina.family.calibrated import Calibrated, CalibratedSubnet, calibrated_subnet
from concertina.family.choosing import Asked, Chooser, new_point
from concertina.family.dial import Budget, point_called
from concertina.family.evidence import Evidence, core_figures
from concertina.family.exporting import Exporting
from concertina.family.finish import measure_family
from concertina.family.given import filled, say_missing_classes, taken
from concertina.family.latencies import latencies_here
from concertina.family.outputs import cut_name, cut_view, task_for
from concertina.family.persist import Opened, save_family, with_tables
from concertina.family.plugging import Plugging
from concertina.family.points import Points
from concertina.family.promises import PromiseOptions, Promises, held_promises, promise_family
from concertina.family.published import Published
from concertina.family.remarks import remarks
from concertina.family.runtimes import timed_points
from concertina.family.specialized import ClassOptions, check_class_options, specialized
from concertina.family.subset import for_classes
from concertina.nest import Gathered, Supernet
from concertina.objective.base import Task
from concertina.save import WriteReport
from concertina.train import Reporter
from concertina.types import ClassScores, Core, Graph, Point, Record, SubnetSpec


class Family(Exporting, Published, Plugging):
    """A core and all its subnets, switched by moving along the growth order.

    Made by `fit` or `open`. `at` gives subnets: ordinary modules whose tensors are views of one storage.

    Args:
        core: The core's facts (source, task, class names, preprocessing); its module tells structure, not values.
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
        Plugging.__init__(self, opened)
        self.core, self.supernet, self.graph = core, supernet, graph
        self.evidence = evidence or Evidence()
        self.task = task or task_for(core, supernet.space)
        self._opened = opened
        self._views: dict[str, tuple[Gathered, nn.Module]] = {}
        self._calibrated = Calibrated()
        self._chooser = Chooser(supernet, opened)
        self._timed: set[str] = set()
        self._lock = threading.Lock()

    @property
    def points(self) -> Points:
        """The operating points that are here, smallest first; prints as a table, with the core's figures below."""
        return Points(self._present, core_figures(self._present, self.records))

    @property
    def complete(self) -> bool:
        """Whether all of it is here; of a family opened with `upto=` a part is."""
        return self._opened is None or self._opened.complete

    @property
    def records(self) -> tuple[Record, ...]:
        """Every measured figure; those of the core stand under the spec "core"."""
        return self.evidence.records

    @property
    def class_scores(self) -> ClassScores | None:
        """How important each unit is for each class, of a family that was made with `class_scores=True`."""
        return self.evidence.class_scores

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its own figures say against the family, in plain sentences; `fit` logs them."""
        return remarks(self._present, self.records, self.task.metric)

    def at(self, share: Asked = None, *, calibrate: Any = None, **budget: Unpack[Budget]) -> nn.Module:
        """Return the largest operating point that fits a budget, as an ordinary module of views.

        With `calibrate=` it is a subnet of exactly this size instead: the largest prefix of the growth order within the
        budget (or the spec, or the point named), with normalisation statistics from that data. Such a subnet depends on
        its spec and the data, and on nothing asked before. It is no operating point: neither the dial nor a file knows
        of it, until `keep` makes it one.

        Args:
            share: Share of the core's MACs, above 0 and up to 1; or a spec.
            calibrate: Data as `fit` takes it, with or without labels; up to 4096 samples of it are used, augmented as
                in training.
            **budget: One of macs=, params=, size_bytes=, point=, or latency_ms= with batch= and threads=; with any of
                them outputs=, for embeddings that can be cut.

        Returns:
            The subnet in eval mode. Asking again gives the same object. `.materialize()` gives a free copy.

        Raises:
            BudgetError: Nothing fits; the text names the smallest possible budget.
            PointError: The spec or name is no operating point and there is no data to calibrate it; or what is asked
                for lies in a part of the file that has not been read.
            SpecError: The spec does not belong to this family.
            DataError: The data does not fit the network.
        """
        if calibrate is None:
            return self.view(self.choose(share, **budget).name)
        return self._calibrate(self._chooser.spec(share, budget)[0], calibrate).module

    def choose(self, share: Asked = None, **budget: Unpack[Budget]) -> Point:
        """Return the operating point that `at` would build; arguments and errors as there."""
        return self._chooser.point(share, budget, self._latencies)

    def keep(
        self, share: Asked = None, *, calibrate: Any, validation: Any = None, name: str = "", **budget: Unpack[Budget]
    ) -> Point:
        """Make a calibrated subnet an operating point: part of `points`, of the dial and of the file.

        Args:
            share: Share of the core's MACs, or a spec, as for `at`.
            calibrate: Data for its normalisation statistics, as for `at`.
            validation: Held-out data to measure it on; without, it has no figures until `measure`.
            name: What to call it; by its share unless said.
            **budget: As for `at`, in place of a share.

        Raises:
            PointError: The subnet is an operating point already, or the name is taken.
            BudgetError, SpecError, DataError: As `at`.
        """
        spec, position = self._chooser.spec(share, budget)
        point = new_point(self.supernet, self._chooser.stored, spec, position, name)
        made = self._calibrate(spec, calibrate)
        with self._lock:
            self.supernet.add(point, made.private)
            self._views[point.name] = Gathered(self.supernet), made.module
        if validation is not None:
            self.measure(validation, points=(point.name,))
        return self.supernet.points[point.name]

    def view(self, name: str) -> nn.Module:
        """Return the resident view of an operating point, built at the first call; "p50:128" has its first 128 outputs.

        Its tensors share the family's storage, but for those gathered from several runs of positions (layers that read
        a concatenation, recurrent ones): these are copies, made anew at the next call after the family has changed.

        Raises:
            PointError: There is no point of that name, or its outputs do not come in that size.
        """
        plain, outputs = cut_name(name, self.supernet.space)
        point = point_called(self._present, plain)
        with self._lock:
            if name not in self._views or self._views[name][0].changed:
                self._views[name] = Gathered(self.supernet), cut_view(self.supernet, point, outputs)
            return self._views[name][1]

    def measure(
        self,
        data: Any,
        *,
        points: Sequence[str] = (),
        core: Core | None = None,
        progress: Reporter | None = None,
    ) -> list[Record]:
        """Measure the quality of points on labelled data, keep the Records and return them.

        Args:
            data: Held-out data, as `fit` takes it.
            points: Names of the points; all unless said.
            core: The core as loaded, to be measured beside them.
            progress: Told now and then where the work stands.

        Raises:
            DataError: The data does not fit the network.
            PointError: There is no point of such a name.
        """
        held = taken(data, core or self.core, self.task)
        say_missing_classes(held, core or self.core, "the data measured on")
        return measure_family(self, core, held, points=points, progress=progress)

    def audit(self, data: Any, **options: Unpack[AuditOptions]) -> Audited:
        """Audit points of a classifier on data it was not trained on, each against the core; keep the Records.

        Args:
            data: Held-out labelled data, as `fit` takes it.
            **options: See `AuditOptions`: audits=("recall", "calibration"), bounds=("recall[cat]>=0.8",), points=,
                core=, progress=.

        Returns:
            The Records, and for every bound and point whether it is met.

        Raises:
            DataError: The data does not fit, names other classes, or is what the family was trained on.
            InputError: The family is of no classifier, the core is another one, or a bound is none.
            UnknownNameError, PointError: There is no such audit, figure, class or point.
        """
        return audit_family(self, data, **options)

    def promise(self, bounds: Mapping[str, float], data: Any, **options: Unpack[PromiseOptions]) -> Promises:
        """Bound the false-negative rates of classes: say "cat" wherever its probability reaches a threshold found here.

        Args:
            bounds: Class name -> largest false-negative rate, such as {"cat": 0.02}.
            data: Labelled data that training has not seen, drawn as new data will be.
            **options: See `PromiseOptions`: min_precision=0.3, method="binomial", points=, progress=.

        Returns:
            One for each point and class; what was refused says why. Those given are kept, see `promises`.

        Raises:
            BoundError: The precision of all of them would lie under its floor.
            DataError: There are too few samples of a class (the text says how many it takes), or as `audit`.
            InputError, UnknownNameError, PointError: As `audit`.
        """
        return promise_family(self, bounds, data, **options)

    @property
    def promises(self) -> Promises:
        """What is promised of the points; `promises.decide(logits, "p50")` says which protected classes are found."""
        return held_promises(self)

    def for_classes(
        self,
        classes: Sequence[str],
        *,
        other: bool = False,
        data: Any = None,
        held: Any = None,
        **options: Unpack[ClassOptions],
    ) -> Family:
        """Return a family of its own for some of the classes, with fewer outputs.

        Without data: the same points, channels and answers among the classes kept; figures are not taken over. With
        data the points also get statistics of these classes, are trained on them where there are epochs, and are
        compared with points of as many MACs in a growth order of the classes' own; the better, as measured on held-out
        data, is returned, and its provenance says which it is and by how much.

        Args:
            classes: Names of the classes, in the order of the new outputs.
            other: Whether there is one more output, called "other", for all other classes together: in a softmax it
                has the sum of their probabilities.
            data: Samples labelled by these classes or by all there were.
            held: Others, to compare on; one of five samples of the data unless given.
            **options: See `ClassOptions`: epochs=0, criterion=, scores="measured", seed=0, progress= and more.

        Raises:
            InputError: A class is unknown, too few or too many are asked for, the family is no classifier, is here in
                part only, or was cut to classes before.
            DataError: The data does not fit, names other classes, or has no samples of a class.
            AnalysisError: No layer was found that makes the classes.
        """
        if data is None:
            check_class_options(options, has_data=False)
            return for_classes(self, classes, other=other)
        return specialized(self, classes, other=other, data=data, held=held, options=options)

    def latencies_ms(self, *, batch: int = 1, threads: int | None = None) -> dict[str, float]:
        """Return point name -> median milliseconds of one call on this machine; measured where no sound Record has it.

        Figures that are marked "unresolved" (the machine was too busy) are measured again, once, and then given with a
        warning.
        """
        return latencies_here(self, batch, threads or torch.get_num_threads(), self._timed)

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
        found = timed_points(self, runtime, batch, threads or torch.get_num_threads(), time_limit_s)
        self.add_records(found)
        return found

    def add_records(self, records: Sequence[Record]) -> None:
        """Add Records; one of the same spec, metric, scope, machine and data gives way."""
        self.evidence = self.evidence.with_records(records)

    def save(self, path: str | Path) -> WriteReport:
        """Write the family with its modules to one file, whole or not at all.

        Raises:
            StorageError: The disk refuses; what was there before is untouched.
            PointError: Only a part of the family is here (opened with upto=).
            InputError: A tensor has lost its dtype, shape or finite values.
        """
        if not self.complete:
            raise PointError("only a part of this family is here", do="Call grow() first.")
        return save_family(Path(path), self.core, self.supernet, self.evidence, self._modules_as_bytes())

    def grow(self, upto: str | float | None = None) -> Points:
        """Read more of the file this family was opened from; views handed out before stay valid, the Records come last.

        Args:
            upto: Name or share of the point to reach; the whole file unless said.

        Returns:
            The points that are here now.

        Raises:
            PointError: The family was not opened from a file, or the file has no such point.
            FormatError: The file is damaged or ends too early; what was here before stays usable.
            StorageError: The disk or the server refuses, or there is another file by now.
        """
        if self._opened is None:
            raise PointError("this family was not opened from a file", do="All of its points are here already.")
        if tables := self._opened.grow(self.supernet, upto):
            self.evidence = with_tables(self.evidence, tables, self.core, self.supernet)
        self.modules.read_again()
        return self.points

    @property
    def _present(self) -> tuple[Point, ...]:
        """The operating points that are here, smallest first."""
        return self._chooser.present

    def _latencies(self, budget: Budget) -> dict[str, float]:
        return self.latencies_ms(batch=budget.get("batch", 1), threads=budget.get("threads"))

    def _calibrate(self, spec: SubnetSpec, source: Any) -> CalibratedSubnet:
        data = filled(taken(source, self.core, self.task, labels=False), self.core, self.task)
        return self._calibrated.get(spec, data, lambda: calibrated_subnet(self.supernet, spec, self.task, data))

    def __repr__(self) -> str:
        listed = ", ".join(f"{point.name} {point.macs:,} MACs" for point in self._present)
        unread = len(self._chooser.stored) - len(self._present)
        more = f", {unread} more in the file" if unread else ""
        return f"Family({self.core.source}, {len(self._present)} points{more}: {listed})"
