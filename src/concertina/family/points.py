"""Operating points as a tuple that prints as a table."""

from __future__ import annotations

from concertina.types import Point


class Points(tuple[Point, ...]):
    """Operating points, smallest first; an ordinary tuple but for how it prints.

    Example:
        >>> from concertina.types import SubnetSpec
        >>> Points([Point("p50", SubnetSpec.of({}), 1, 1200, 30, 120, 0.5, (("accuracy", 0.97),))])
        point   MACs  share  parameters  bytes  accuracy
        p50    1,200  50.0%          30    120    0.9700
    """

    __slots__ = ()

    def __repr__(self) -> str:
        metrics = list(dict.fromkeys(name for point in self for name, _ in point.metrics))
        rows = [["point", "MACs", "share", "parameters", "bytes", *metrics]]
        for point in self:
            figures = dict(point.metrics)
            costs = [f"{point.macs:,}", f"{point.share:.1%}", f"{point.params:,}", f"{point.size_bytes:,}"]
            rows.append([point.name, *costs, *(f"{figures[m]:.4f}" if m in figures else "-" for m in metrics)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))] for row in rows
        ]
        return "\n".join("  ".join(line) for line in lines)
