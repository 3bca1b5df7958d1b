"""Export one point, or all of them over one file of weights: captured, written, checked, and only then put in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from concertina.errors import InputError
from concertina.export.base import EXPORTERS
from concertina.export.capture import capture
from concertina.export.check import Agreement, check
from concertina.export.onnx import Onnx
from concertina.export.onnx_shared import WEIGHTS, SharedExport, SharedGraphs
from concertina.export.staging import move_into, refuse_strangers, staging

Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class ToExport:
    """A subnet on its way out."""

    name: str
    """Name of its point."""
    subnet: nn.Module
    example_inputs: tuple[Tensor, ...]
    """What it is called with, each (batch, ...), batch of 2 or more."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Plain facts that the file carries along."""


@dataclass(frozen=True)
class RealInputs:
    """Data that exported files are compared on."""

    inputs: tuple[Tensor, ...]
    """What the network is called with, each (samples, ...)."""
    top1: bool = False
    """Whether the first choice must be the same on each."""


@dataclass(frozen=True)
class Exported:
    """One exported point."""

    files: tuple[Path, ...]
    """The file to load first, then what lies beside it."""
    num_bytes: int
    """Bytes of all files."""
    agreement: Agreement
    """How closely it follows its subnet."""


def export_point(to: str, point: ToExport, path: Path, real: RealInputs | None = None) -> Exported:
    """Write one subnet as a file of another runtime, once the file is seen to compute what the subnet computes.

    Args:
        to: Name of the exporter.
        point: The subnet.
        path: The file to write; its name ends in the exporter's suffix.
        real: Data to compare on, beside made-up inputs.

    Raises:
        ExtraError: The exporter's packages are not installed.
        ExportError: The network cannot be exported, or the file computes something else; nothing is written then.
        StorageError: The disk refuses.
    """
    exporter = EXPORTERS.get(to)()
    exporter.require()
    with staging(path) as place:
        files = exporter.write(capture(point.subnet, point.example_inputs), place / path.name, point.facts)
        program = exporter.load(files[0])
        agreement = _checked(program, point, f"{path.name} ({point.name})", real)
        del program
        num_bytes = sum(file.stat().st_size for file in files)
        return Exported(move_into(path.parent, files), num_bytes, agreement)


def export_points(
    points: Sequence[ToExport], folder: Path, real: RealInputs | None = None, progress: Progress | None = None
) -> tuple[SharedExport, dict[str, Agreement]]:
    """Write all points as small ONNX graphs over one file of weights, each checked; errors as for `export_point`.

    Args:
        points: The points; any order.
        folder: Where NAME.onnx and weights.bin go; made where it is missing.
        real: Data to compare on.
        progress: Told what is being done and the share that is done.

    Returns:
        What was written, and how closely each point follows its subnet.

    Raises:
        InputError: The name of a point cannot be that of a file.
    """
    exporter, shared, tell = Onnx(), SharedGraphs(), progress or (lambda _what, _done: None)
    exporter.require()
    _check_names(points)
    refuse_strangers(folder, {WEIGHTS, *(f"{point.name}.onnx" for point in points)})
    for done, point in enumerate(points):
        tell("exporting", done / len(points))
        shared.add(point.name, capture(point.subnet, point.example_inputs), point.facts)
    with staging(folder) as place:
        made, agreements = shared.write(place), {}
        for done, point in enumerate(points):
            tell("checking", done / len(points))
            program = exporter.load(made.graphs[point.name])
            agreements[point.name] = _checked(program, point, f"{point.name}.onnx", real)
            del program
        weights, *graphs = move_into(folder, [made.weights, *made.graphs.values()])
    paths = dict(zip(made.graphs, graphs, strict=True))
    return replace(made, folder=folder, weights=weights, graphs=paths), agreements


def _checked(
    program: Callable[..., Sequence[Tensor]], point: ToExport, what: str, real: RealInputs | None
) -> Agreement:
    data, top1 = (real.inputs, real.top1) if real else (None, False)
    return check(program, point.subnet, point.example_inputs, what=what, data=data, top1=top1)


def _check_names(points: Sequence[ToExport]) -> None:
    for point in points:
        if not re.fullmatch(r"\w[\w.+-]*", point.name):
            raise InputError("name of a point, as a file", asked=repr(point.name), allowed="letters, digits, . + - _")
