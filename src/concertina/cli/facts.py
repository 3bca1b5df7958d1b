"""What is known of a network, a file or a point, as plain data for tables and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concertina.family import Outlook
    from concertina.types import Core, Graph, Point


def of_network(core: Core, graph: Graph, ahead: Outlook) -> dict[str, Any]:
    """Return what is known of a network: facts, what can be made of it, coupled groups and blocks."""
    return {
        "source": core.source,
        "task": core.task,
        "classes": list(core.class_names),
        "parameters": sum(parameter.numel() for parameter in core.module.parameters()),
        "licence": core.licence,
        "fingerprint": core.fingerprint,
        "never reached": list(graph.unreached),
        "macs": ahead.macs,
        "size bytes": ahead.size_bytes,
        "elastic parameters": ahead.elastic_parameters,
        "smallest macs": ahead.smallest_macs,
        "smallest bytes": ahead.smallest_bytes,
        "training samples": ahead.samples,
        "training epochs": ahead.epochs,
        "training macs": ahead.training_macs,
        "training seconds": ahead.training_seconds,
        "groups": [
            {"group": group.name, "units": group.units, "elastic": group.elastic, "why not": group.rigid}
            for group in graph.groups
        ],
        "blocks": [{"block": block.path, "elastic": block.elastic, "why not": block.rigid} for block in graph.blocks],
    }


def in_short(core: Core, graph: Graph, ahead: Outlook) -> list[tuple[str, str]]:
    """Return what is known of a network in about ten lines, (what, value) each, for people."""
    parameters = sum(parameter.numel() for parameter in core.module.parameters())
    classes = f", {len(core.class_names)} classes" if core.class_names else ""
    shape = ", ".join("x".join(map(str, tensor.shape[1:])) for tensor in core.example_inputs)
    macs, size = (f"{100 * part / max(1, whole):.2g}%" for part, whole in _smallest(ahead))
    lines = [
        ("source", core.source),
        ("task", f"{core.task}{classes}"),
        ("licence", core.licence),
        (
            "whole",
            f"{parameters:,} parameters, {ahead.size_bytes:,} bytes; {ahead.macs:,} MACs for an input of {shape}",
        ),
        ("elastic groups", f"{len(graph.elastic_groups)} of {len(graph.groups)}"),
        ("blocks that can be skipped", f"{len(graph.elastic_blocks)} of {len(graph.blocks)}"),
        ("elastic parameters", f"{ahead.elastic_parameters:.1%}"),
        ("smallest subnet", f"{macs} of the MACs, {size} of the bytes"),
        ("a default training", _training(ahead)),
    ]
    return [*lines, *([("never reached", ", ".join(graph.unreached))] if graph.unreached else [])]


def _smallest(ahead: Outlook) -> tuple[tuple[int, int], tuple[int, int]]:
    return (ahead.smallest_macs, ahead.macs), (ahead.smallest_bytes, ahead.size_bytes)


def _training(ahead: Outlook) -> str:
    if ahead.training_macs is None:
        return ""
    seconds = ahead.training_seconds or 0.0
    unit, size = next(((u, s) for u, s in (("h", 3600), ("min", 60)) if seconds >= 2 * s), ("s", 1))
    work = f"{ahead.epochs:g} epochs of {ahead.samples:,} samples: {ahead.training_macs:.1e} MACs"
    return f"{work}, about {max(1, round(seconds / size)):,} {unit} on this machine"


def of_file(path: Path, points: Sequence[Point] | None = None) -> dict[str, Any]:
    """Return what the header of a family file says; its weights are not read.

    Args:
        path: The file; it may end early.
        points: The points to tell of; all unless said.

    Raises:
        FormatError: The header is not sound.
    """
    from concertina.save import open_artifact

    with open_artifact(path) as artifact:
        manifest = artifact.manifest
        whole = {point.name for point in artifact.available}
        told = [
            of_point(point)
            | {"file_bytes": artifact.ends[point.name]}
            | ({} if artifact.complete else {"whole here": point.name in whole})
            for point in (manifest.points if points is None else points)
        ]
        return {
            "file": str(path),
            "size bytes": artifact.file_bytes,
            "header bytes": artifact.header_bytes,
            "sha256": artifact.sha256,
            "complete": artifact.complete,
            "format version": manifest.format_version,
            "source": manifest.architecture.source,
            "task": manifest.task,
            "classes": list(manifest.class_names),
            "licence": manifest.licence,
            "core": manifest.core_fingerprint,
            **{f"made with {name}": value for name, value in manifest.provenance.items()},
            "points": told,
            "modules": [{"module": name, "bytes": size} for name, size in artifact.modules.items()],
            "dims": [{"dim": dim.name, "choices": list(dim.choices)} for dim in manifest.dims],
        }


def of_point(point: Point) -> dict[str, Any]:
    """Return an operating point with its headline figures."""
    return {
        "point": point.name,
        "share": point.share,
        "macs": point.macs,
        "params": point.params,
        "size_bytes": point.size_bytes,
        **dict(point.metrics),
    }
