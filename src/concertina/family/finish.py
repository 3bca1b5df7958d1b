"""After training: statistics for every point, and figures for everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from concertina.analyse.rewriting import as_loaded
from concertina.errors import InputError
from concertina.family.dial import point_called
from concertina.family.evidence import CORE, Measurable, core_predictions_on
from concertina.family.samples import calibration_batches
from concertina.load.data import TensorData, batches, check_fits
from concertina.measure.quality import Quality, churn, evaluate
from concertina.nest import Supernet
from concertina.objective.base import Task
from concertina.train import Reporter, calibrate
from concertina.train.calibrate import shared_statistics
from concertina.types import Core, Point, Record, data_key

BATCH = 128


def calibrate_points(
    supernet: Supernet,
    task: Task,
    data: TensorData,
    progress: Reporter | None = None,
    *,
    full: bool = True,
    balanced: bool = False,
) -> None:
    """Recompute the normalisation statistics of every point on training data, in place.

    Args:
        supernet: The family.
        task: Gives inputs and augmentation.
        data: Training data.
        progress: Told now and then where the run stands.
        full: Whether the full point is done too; without training it has the core's own statistics, which are better.
        balanced: Whether all classes have equal parts in the sample.
    """
    seen = calibration_batches(task, data, balanced=balanced)
    wanted = {name: point for name, point in supernet.points.items() if full or supernet.private[name]}
    for done, (name, point) in enumerate(wanted.items()):
        if progress is not None:
            progress("calibrating", done / len(wanted))
        private = supernet.private[name]
        fresh = calibrate(supernet, point.spec, private or shared_statistics(supernet), task, seen)
        if private:
            supernet.private[name] = fresh
        else:
            with torch.no_grad():
                for key, tensor in shared_statistics(supernet).items():
                    tensor.copy_(fresh[key])


def measure_family(
    family: Measurable,
    core: Core | None,
    data: TensorData,
    *,
    points: Sequence[str] = (),
    progress: Reporter | None = None,
    seed: int | None = None,
) -> list[Record]:
    """Measure quality and cost of points, and of the core where it is at hand; keep the Records and return them.

    Args:
        family: The family; its points get headline figures.
        core: The core as loaded, to be measured on the same data; its predictions are kept.
        data: Held-out data.
        points: Names of the points; all unless said.
        progress: Told now and then where the run stands.
        seed: Seed of the run, noted in the Records.

    Raises:
        PointError: There is no point of such a name.
        DataError: The data does not fit the network.
        InputError: The core answers in other classes than the family.
    """
    core = None if core is None else comparable(family, core)
    check_fits(data, family.core if core is None else core)
    wanted = [point_called(family.points, name) for name in points] or list(family.points)
    task, records = family.task, []
    if core is not None:
        quality = evaluate(core.module, task, batches(data, BATCH), spec=CORE, data=data.fingerprint)
        records += quality.records
        predictions = tuple(quality.rows["prediction"].tolist()) if "prediction" in quality.rows else ()
        family.evidence = replace(family.evidence, core_predictions=predictions)
    for done, point in enumerate(wanted):
        if progress is not None:
            progress("measuring", done / len(wanted))
        module = family.view(point.name)
        quality = evaluate(module, task, batches(data, BATCH), spec=point.spec.text, data=data.fingerprint)
        family.supernet.set_metrics(point.name, headline(quality.records, task))
        records += [*quality.records, *_churn_of(family, quality, records, data), *cost_records(point)]
    if seed is not None:
        records = [replace(record, seed=seed) for record in records]
    family.add_records(records)
    named = {data_key(data.fingerprint): data.label} if data.source else {}
    family.evidence = replace(family.evidence, provenance={**family.evidence.provenance, **named})
    return records


def comparable(family: Measurable, core: Core) -> Core:
    """Return a core as it was loaded, to be measured beside a family.

    Raises:
        InputError: It answers in other classes, as for a family that was cut to some of them.
    """
    if core.class_names != family.core.class_names:
        asked, allowed = (", ".join(names) or "none" for names in (core.class_names, family.core.class_names))
        raise InputError("classes of the core to compare with", asked=asked, allowed=allowed)
    return as_loaded(core)


def _churn_of(family: Measurable, quality: Quality, new: Sequence[Record], data: TensorData) -> list[Record]:
    """Return a point's churn against the core where the core's predictions on this data are known."""
    reference = core_predictions_on(family, data, new)
    if reference is None or "prediction" not in quality.rows:
        return []
    return [
        churn(
            quality.rows["prediction"],
            torch.tensor(reference),
            spec=quality.records[0].spec,
            data=data.fingerprint,
        )
    ]


def headline(records: Sequence[Record], task: Task) -> dict[str, float]:
    """Return the figures that stand beside a point's name: the task's metric of the whole, and its worst class."""
    whole = {r.metric: r.value for r in records if r.metric == task.metric.name and not r.scope}
    return whole | {r.metric: r.value for r in records if r.metric == "worst_class_recall"}


def cost_records(point: Point) -> list[Record]:
    """Return the computed costs of a point as Records."""
    figures = (
        ("macs", point.macs, "MACs"),
        ("params", point.params, "parameters"),
        ("size_bytes", point.size_bytes, "bytes"),
    )
    return [Record(point.spec.text, name, float(value), unit) for name, value, unit in figures]
