"""What is known of a network, a file or a point, as plain data for tables and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concertina.types import Core, Graph, Point


def of_network(core: Core, graph: Graph) -> dict[str, Any]:
    """Return what is known of a network: facts, coupled groups and blocks."""
    return {
        "source": core.source,
        "task": core.task,
        "classes": list(core.class_names),
        "parameters": sum(parameter.numel() for parameter in core.module.parameters()),
        "licence": core.licence,
        "fingerprint": core.fingerprint,
        "never reached": list(graph.unreached),
        "groups": [
            {"group": group.name, "units": group.units, "elastic": group.elastic, "why not": group.rigid}
            for group in graph.groups
        ],
        "blocks": [{"block": block.path, "elastic": block.elastic, "why not": block.rigid} for block in graph.blocks],
    }


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
