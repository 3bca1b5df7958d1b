"""The modules of a family as a table: bytes, and the headline figure of every point with each of them."""

from __future__ import annotations

from concertina.report import wording
from concertina.report.audited import Cells
from concertina.report.figures import ReportData

MOST = 100
"""Modules, and sets of modules, that are listed."""
ONE, SEVERAL = "module ", "modules "
"""How the scope of figures with one module begins, and with several together."""


def module_table(data: ReportData) -> Cells | None:
    """Return a line a module of the family, then one for each set of modules that was measured together.

    Figures with a module were measured on data of its own domain, so lines are not to be compared with each other.

    Args:
        data: What the report is made from.

    Returns:
        Titles and lines; None for a family without modules.

    Example:
        >>> module_table(ReportData("", (), (), modules={"reviews": 2048}))
        (['module', 'bytes'], [['reviews', '2,048']])
    """
    if not data.modules:
        return None
    found = {(r.scope, r.spec): r for r in data.records if r.metric == data.figures.metric and _plugged(r.scope)}
    together = dict.fromkeys(scope for scope, _ in found if scope.startswith(SEVERAL))
    named = [(f"{ONE}{name}", name, wording.whole(size)) for name, size in data.modules.items()]
    named += [(scope, scope.removeprefix(SEVERAL), wording.MISSING) for scope in together]
    metric = wording.shown(data.figures.metric, 40)
    titles = ["module", "bytes", *(f"{metric} at {wording.shown(point.name, 40)}" for point in data.points)]
    lines = [
        [wording.shown(name, 60), size, *(wording.value(found.get((scope, point.spec.text))) for point in data.points)]
        for scope, name, size in named[:MOST]
    ]
    return titles, lines


def _plugged(scope: str) -> bool:
    return scope.startswith((ONE, SEVERAL))
