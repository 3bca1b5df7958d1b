"""The family beside what an engineer would do without it, point by point, on the same data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from concertina.errors import InputError
from concertina.family.alone import Training, trained_alone
from concertina.family.family import Family
from concertina.load.data import TensorData, batches
from concertina.measure.baselines import naive_slice, torch_pruning_cut
from concertina.measure.quality import evaluate
from concertina.train import Reporter
from concertina.types import Core, Point, Record

NAIVE, UNTUNED = "core sliced naively, untuned", "Torch-Pruning, untuned"
TUNED = "Torch-Pruning, tuned alone"
RIVALS = (NAIVE, UNTUNED, TUNED)
"""Names of the rivals; they stand in the scope of their Records."""
TRAINING_MACS = "training_macs"
"""Metric of a tuned rival: what its own training cost, backward and teacher passes included."""
BATCH = 128


@dataclass(frozen=True)
class _Network:
    """A rival of a point."""

    name: str
    point: Point
    module: nn.Module
    macs: int
    training_macs: int = 0


def measure_rivals(
    family: Family, core: Core, data: TensorData, *, tuning: Training | None = None, progress: Reporter | None = None
) -> list[Record]:
    """Measure the rivals at every point's MACs, keep the Records and return them.

    Args:
        family: A family fresh from `fit` (its groups are needed).
        core: The core as loaded.
        data: Held-out data, the same that the points were measured on.
        tuning: How the networks that Torch-Pruning cuts are trained, each by itself; they are not trained without it.
        progress: Told now and then where the work stands.

    Raises:
        InputError: The family was opened from a file, which does not keep the groups.
    """
    if family.graph is None:
        raise InputError("rivals need the groups as analysed", do="Use the family that `fit` gave.")
    points, records = family.points, []
    for done, point in enumerate(points):
        if progress is not None:
            progress("measuring rivals", done / len(points))
        for rival in _untuned(family, core, point):
            records += _records(family, rival, data)
            if tuning is not None and rival.name == UNTUNED and point.macs < points[-1].macs:
                report = _part_of(progress, done, len(points))
                tuned = trained_alone(rival.module, core, tuning, progress=report)
                rival = replace(rival, name=TUNED, module=tuned.module, training_macs=tuned.training_macs)
                records += _records(family, rival, data)
    family.add_records(records)
    return records


def _part_of(progress: Reporter | None, done: int, parts: int) -> Reporter:
    """Return a reporter for one part of several, which tells the share of the whole; remarks are not passed on."""

    def report(stage: str, share: float) -> None:
        """Pass on how far the rivals are together."""
        if progress is not None and stage.startswith("training"):
            progress("measuring rivals", (done + min(share, 0.99)) / parts)

    return report


def _untuned(family: Family, core: Core, point: Point) -> list[_Network]:
    graph, space = family.graph, family.supernet.space
    cut = torch_pruning_cut(core, graph, point.macs) if graph is not None else None
    sliced = _Network(NAIVE, point, naive_slice(core, space, point.spec), point.macs)
    return [sliced, *([_Network(UNTUNED, point, *cut)] if cut is not None else [])]


def _records(family: Family, network: _Network, data: TensorData) -> list[Record]:
    text, metric, scope = network.point.spec.text, family.task.metric.name, network.name
    quality = evaluate(network.module, family.task, batches(data, BATCH), spec=text, data=data.fingerprint)
    figures = [replace(r, scope=scope) for r in quality.records if r.metric == metric and not r.scope]
    costs = {"macs": network.macs} | ({TRAINING_MACS: network.training_macs} if network.training_macs else {})
    made = (
        Record(text, name, float(value), "MACs", scope=scope, data=data.fingerprint) for name, value in costs.items()
    )
    return [*figures, *made]
