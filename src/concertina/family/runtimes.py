"""Points of a family in other runtimes: exported as files, or made ready to be timed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from concertina.errors import InputError, UnknownNameError
from concertina.export import (
    EAGER,
    EXPORTERS,
    Exported,
    Extracted,
    RealInputs,
    SharedExport,
    ToExport,
    TritonPoint,
    TritonRepository,
    export_point,
    export_points,
    export_triton,
    extract,
    runtimes,
)
from concertina.family.baking import Pluggable, baked, classes_with, point_with
from concertina.family.evidence import Measurable
from concertina.family.given import taken
from concertina.load.data import TensorData
from concertina.measure.latency import Runner, latency, module_runner
from concertina.train import Reporter
from concertina.types import Core, Point, Record

CLASSIFICATION = "classification"


def to_export(family: Pluggable, point: Point, modules: str = "") -> ToExport:
    """Return an operating point as exporters take it, with the facts that its file carries along.

    Args:
        family: The family.
        point: The point.
        modules: Names of modules to merge into it; empty for none.

    Raises:
        InputError: A module is not there, or cannot be merged.
    """
    known = facts_with(family, modules)
    facts = {
        "point": point.name,
        "spec": point.spec.text,
        **{name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in known.items()},
    }
    return ToExport(point.name, baked(family, point, modules, heads=True), family.core.example_inputs, facts)


def facts_with(family: Pluggable, modules: str) -> dict[str, Any]:
    """Return what an exported network carries along of its core and the modules merged into it, as JSON values."""
    facts = facts_of(family.core)
    return facts | {"modules": modules, "class_names": list(classes_with(family, modules))} if modules else facts


def extracted(family: Pluggable, point: Point, folder: Path, modules: str = "") -> Extracted:
    """Write one point as usual files; see `Family.extract`."""
    module, inputs = baked(family, point, modules, heads=False), family.core.example_inputs
    facts = facts_with(family, modules)
    return extract(
        module, inputs, folder, space=family.supernet.space, point=point_with(family, point, modules), facts=facts
    )


def exported(
    family: Pluggable, choose: Callable[[], Point], path: Path, to: str, data: Any, modules: str = ""
) -> Exported:
    """Write one point as a file of another runtime; see `Family.export`.

    Args:
        family: The family.
        choose: Gives the point, once the file's name is seen to fit.
        path: The file.
        to: Name of the exporter.
        data: Real inputs to compare on too; None for none.
        modules: Names of modules to merge into it; empty for none.
    """
    suffix = EXPORTERS.get(to).suffix
    if path.suffix != suffix:
        raise InputError("file to export to", asked=repr(path.name), allowed=f"a name that ends in {suffix}")
    return export_point(to, to_export(family, choose(), modules), path, _given_inputs(family, data))


def exported_together(family: Pluggable, folder: Path, data: Any, progress: Reporter | None) -> SharedExport:
    """Write all points as graphs over one file of weights; see `Family.export_all`."""
    points = [to_export(family, point) for point in family.points]
    return export_points(points, folder, _given_inputs(family, data), progress)[0]


class TritonOptions(TypedDict, total=False):
    """How a model lies in a repository for Triton."""

    max_batch: int
    """Most inputs that Triton may join in one call; 16 unless said."""
    data: Any
    """Real inputs to compare the files on too, as `fit` takes data."""
    progress: Reporter
    """Told what is being done and the share that is done."""
    modules: str
    """Names of modules to merge into every version; empty for none."""


def exported_for_triton(
    family: Pluggable, folder: Path, model: str, options: TritonOptions, real: RealInputs | None = None
) -> TritonRepository:
    """Write all points as versions of one model of a repository; see `Family.export_triton`.

    Args:
        family: The family.
        folder: The repository.
        model: Name of the model.
        options: How it lies there.
        real: Data as `real_inputs` gives it, in place of that of the options.
    """
    modules = options.get("modules", "")
    points = [
        TritonPoint(to_export(family, point, modules), figures_of(point_with(family, point, modules)))
        for point in family.points
    ]
    return export_triton(
        points,
        folder,
        model,
        max_batch=options.get("max_batch", 16),
        facts=facts_with(family, modules),
        real=real or _given_inputs(family, options.get("data")),
        progress=options.get("progress"),
    )


def figures_of(point: Point) -> dict[str, Any]:
    """Return what a point costs and its headline figures, as JSON values."""
    facts = {"macs": point.macs, "share": point.share, "params": point.params, "size_bytes": point.size_bytes}
    return facts | {"metrics": dict(point.metrics)}


def _given_inputs(family: Measurable, data: Any) -> RealInputs | None:
    return None if data is None else real_inputs(family, taken(data, family.core, family.task))


def facts_of(core: Core) -> dict[str, Any]:
    """Return what an exported network carries along of its core, as JSON values."""
    return {
        "source": core.source,
        "arguments": dict(core.arguments),
        "task": core.task,
        "class_names": list(core.class_names),
        "preprocess": asdict(core.preprocess),
        "licence": core.licence,
    }


def real_inputs(family: Measurable, data: TensorData) -> RealInputs:
    """Return data as exported files are compared on it: with the first choice where the task has classes."""
    return RealInputs(family.task.inputs(data.tensors), top1=family.core.task == CLASSIFICATION)


@contextmanager
def point_runners(
    family: Pluggable, runtime: str, inputs: Sequence[Tensor], threads: int
) -> Iterator[dict[str, Runner]]:
    """Give point name -> runner in a runtime, for `measure.latency`; exported files are gone afterwards.

    Args:
        family: The family.
        runtime: "eager" for torch itself, or the name of an exporter.
        inputs: What a call computes on, each (batch, ...).
        threads: Threads of a call. (In eager mode torch's own setting counts.)

    Raises:
        UnknownNameError: No such runtime.
        ExtraError: The runtime is not installed.
        ExportError: A point cannot be exported or comes out wrong.
    """
    check_runtime(runtime)
    if runtime == EAGER:
        yield {point.name: module_runner(family.view(point.name), *inputs) for point in family.points}
        return
    exporter = EXPORTERS.get(runtime)()
    with tempfile.TemporaryDirectory(prefix="concertina-", ignore_cleanup_errors=True) as folder:
        runners = {}
        for place, point in enumerate(family.points):
            path = Path(folder) / f"{place}{exporter.suffix}"
            made = export_point(runtime, to_export(family, point), path)
            runners[point.name] = exporter.load(made.files[0], threads).runner(*inputs)
        yield runners


def timed_points(family: Pluggable, runtime: str, batch: int, threads: int, time_limit_s: float) -> list[Record]:
    """Time every point in turns in a runtime and return the Records; errors as for `point_runners`.

    Args:
        family: The family.
        runtime: Name of the runtime.
        batch: Inputs in one call.
        threads: Threads of the call.
        time_limit_s: Stop after this long, with the samples there are.
    """
    inputs = tuple(repeated(tensor, batch) for tensor in family.core.example_inputs)
    with point_runners(family, runtime, inputs, threads) as runners:
        found = latency(runners, time_limit_s=time_limit_s, threads=threads, batch=batch)
    label = "" if runtime == EAGER else runtime
    specs = {point.name: point.spec.text for point in family.points}
    return [r for name, result in found.items() for r in replace(result, runtime=label).to_records(specs[name])]


def check_runtime(runtime: str) -> None:
    """Refuse a runtime that is not known or not installed.

    Raises:
        UnknownNameError: No such runtime.
        ExtraError: It is not installed.
    """
    if runtime not in runtimes():
        raise UnknownNameError("unknown runtime", asked=repr(runtime), allowed=", ".join(runtimes()))
    if runtime != EAGER:
        EXPORTERS.get(runtime)().require()


def repeated(tensor: Tensor, batch: int) -> Tensor:
    """Return a batch of `batch` rows made of the rows of `tensor` (rows, ...)."""
    return tensor[torch.arange(batch) % len(tensor)].contiguous()
