"""The family beside what an engineer would do without it, point by point, on the same data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from concertina.errors import InputError
from concertina.family.family import Family
from concertina.load.data import TensorData, batches
from concertina.measure.baselines import naive_slice, torch_pruning_cut
from concertina.measure.quality import evaluate
from concertina.train import Reporter
from concertina.types import Core, Point, Record

NAIVE, TORCH_PRUNING = "core sliced naively", "Torch-Pruning, untuned"
RIVALS = (NAIVE, TORCH_PRUNING)
"""Names of the rivals; they stand in the scope of their Records."""
BATCH = 128


def measure_rivals(family: Family, core: Core, data: TensorData, *, progress: Reporter | None = None) -> list[Record]:
    """Measure both rivals at every point's MACs, keep the Records and return them.

    Args:
        family: A family fresh from `fit` (its groups are needed).
        core: The core as loaded.
        data: Held-out data, the same that the points were measured on.
        progress: Told now and then where the work stands.

    Raises:
        InputError: The family was opened from a file, which does not keep the groups.
    """
    if family.graph is None:
        raise InputError("rivals need the groups as analysed", do="Use the family that `fit` gave.")
    graph, space, records = family.graph, family.supernet.space, []
    cuts: tuple[tuple[str, Callable[[Point], tuple[nn.Module, int] | None]], ...] = (
        (NAIVE, lambda point: (naive_slice(core, space, point.spec), point.macs)),
        (TORCH_PRUNING, lambda point: torch_pruning_cut(core, graph, point.macs)),
    )
    for number, (name, cut) in enumerate(cuts):
        for done, point in enumerate(family.points):
            if progress is not None:
                progress("measuring rivals", (number + done / len(family.points)) / len(cuts))
            rival = cut(point)
            if rival is not None:
                records += _records(family, rival, point, name, data)
    family.add_records(records)
    return records


def _records(family: Family, rival: tuple[nn.Module, int], point: Point, name: str, data: TensorData) -> list[Record]:
    module, macs = rival
    text, metric = point.spec.text, family.task.metric.name
    quality = evaluate(module, family.task, batches(data, BATCH), spec=text, data=data.fingerprint)
    figures = [replace(r, scope=name) for r in quality.records if r.metric == metric and not r.scope]
    return [*figures, Record(text, "macs", float(macs), "MACs", scope=name, data=data.fingerprint)]
