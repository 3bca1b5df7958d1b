"""From a family to what a report is made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from concertina.report.figures import Figures, ReportData, core_macs
from concertina.report.page import page
from concertina.save import Artifact
from concertina.save.atomic import replacing
from concertina.types import Core, Graph, Point, Record

NO_MODULE = "__base__"
"""Under this name a file keeps what the router knows of the core's own domain."""


class _Evidence(Protocol):
    @property
    def provenance(self) -> Mapping[str, str]:
        """Where the family comes from and how it was made."""


class Reportable(Protocol):
    """What a report needs of a family."""

    @property
    def points(self) -> Sequence[Point]:
        """The operating points."""

    @property
    def records(self) -> Sequence[Record]:
        """Every measured figure."""

    core: Core
    graph: Graph | None

    @property
    def evidence(self) -> _Evidence:
        """What was measured, and how the family came about."""


def report_data(family: Reportable, title: str) -> ReportData:
    """Return what a report, card or plot of `family` is made from.

    Rivals measured beside the family (records with a "macs" record of the same scope) become baselines.

    Args:
        family: A family, fresh from `fit` or opened from a file.
        title: Heading of the report.
    """
    core, graph = family.core, family.graph
    return ReportData(
        title,
        family.points,
        family.records,
        baselines=baselines(family.points, family.records),
        class_names=core.class_names,
        provenance=_origin(core.source, core.licence, core.task, core.fingerprint) | dict(family.evidence.provenance),
        groups=graph.groups if graph else (),
        blocks=graph.blocks if graph else (),
        modules={name: module.size_bytes for name, module in getattr(family, "modules", {}).items()},
    )


def file_data(artifact: Artifact, title: str, points: Sequence[Point] | None = None) -> ReportData:
    """Return what a report, card or plot of a family's file is made from; no weight is read and no network built.

    Args:
        artifact: The file.
        title: Heading of the report.
        points: The points to speak of; all of the file unless said.

    Raises:
        FormatError: The tables are not what was written. (Of a file that ends before them no record is known.)
    """
    manifest = artifact.manifest
    points = manifest.points if points is None else points
    records = artifact.tables().get("records", ()) if artifact.complete else ()
    origin = _origin(manifest.architecture.source, manifest.licence, manifest.task, manifest.core_fingerprint)
    return ReportData(
        title,
        points,
        records,
        baselines=baselines(points, records),
        class_names=manifest.class_names,
        provenance=origin | {name: str(text) for name, text in manifest.provenance.items()},
        modules={name: size for name, size in artifact.modules.items() if name != NO_MODULE},
    )


def _origin(source: str, licence: str, task: str, fingerprint: str) -> dict[str, str]:
    """Return where a family comes from, label by label, without what is not known."""
    facts = {"source": source, "licence": licence, "task": task, "core fingerprint": fingerprint}
    return {label: text for label, text in facts.items() if text}


def report(family: Reportable, path: str | Path, *, title: str = "") -> None:
    """Write one HTML page about a family: its points, their costs and figures, and a plot; works offline.

    Args:
        family: A family, fresh from `fit` or opened from a file (a network of your own with `module=`).
        path: Page to write; what was there is replaced.
        title: Heading of the page; the source of the network when left out.

    Raises:
        StorageError: The disk refuses.
    """
    write_report(report_data(family, title or f"{family.core.source}: one network, every size"), Path(path))


def baselines(points: Sequence[Point], records: Sequence[Record]) -> dict[str, list[tuple[float, float]]]:
    """Return rival -> (share of the core's MACs, headline figure), measured on the same data as the points.

    Args:
        points: The operating points; they tell the core's MACs.
        records: All figures; those of a rival carry its name as their scope.
    """
    figures, whole = Figures(records), core_macs(points)
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for cost in records:
        if cost.metric == "macs" and cost.scope and cost.data == figures.data and whole:
            quality = figures.get(cost.spec, figures.metric, cost.scope)
            if quality is not None:
                found[cost.scope].append((cost.value / whole, quality.value))
    return {name: sorted(pairs) for name, pairs in found.items()}


def write_report(data: ReportData, path: Path) -> None:
    """Write the page of `data` to `path`, whole or not at all.

    Raises:
        StorageError: The disk refuses.
    """
    with replacing(path) as file:
        file.write(page(data).encode("utf-8", errors="replace"))
