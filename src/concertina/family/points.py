"""Operating points as a tuple that prints as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

from concertina.family.evidence import CORE
from concertina.types import Point


class Points(tuple[Point, ...]):
    """Operating points, smallest first; an ordinary tuple but for how it prints.

    Args:
        points: The points.
        core: Figures of the core on the same data, metric -> value, for a last row of the table.

    Example:
        >>> from concertina.types import SubnetSpec
        >>> Points([Point("p50", SubnetSpec.of({}), 1, 1200, 30, 120, 0.5, (("accuracy", 0.97),))], {"accuracy": 0.98})
        point   MACs  share  parameters  bytes  accuracy
        p50    1,200  50.0%          30    120    0.9700
        core       -      -           -      -    0.9800
    """

    core: Mapping[str, float]

    def __new__(cls, points: Iterable[Point] = (), core: Mapping[str, float] | None = None) -> Self:
        """Return the points, with the core's figures as an attribute."""
        made = super().__new__(cls, points)
        made.core = dict(core or {})
        return made

    def __repr__(self) -> str:
        metrics = list(dict.fromkeys(name for point in self for name, _ in point.metrics))
        rows = [["point", "MACs", "share", "parameters", "bytes", *metrics]]
        for point in self:
            costs = [f"{point.macs:,}", f"{point.share:.1%}", f"{point.params:,}", f"{point.size_bytes:,}"]
            rows.append([point.name, *costs, *_figures(dict(point.metrics), metrics)])
        if self.core:
            rows.append([CORE, "-", "-", "-", "-", *_figures(self.core, metrics)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))] for row in rows
        ]
        return "\n".join("  ".join(line) for line in lines)


def _figures(known: Mapping[str, float], metrics: Iterable[str]) -> list[str]:
    return [f"{known[metric]:.4f}" if metric in known else "-" for metric in metrics]
