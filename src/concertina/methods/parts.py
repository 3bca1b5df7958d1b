"""All registries in one place, for the methods table and the generated docs."""

from __future__ import annotations

from typing import Any

from concertina.analyse.rewriting import WAYS
from concertina.audits import AUDITS, GUARANTEES
from concertina.axes import AXES
from concertina.bench import THEMES
from concertina.export import EXPORTERS, LAYOUTS
from concertina.load import LIBRARIES, ZOO
from concertina.load.sources import SOURCES
from concertina.modules import KINDS
from concertina.objective import AUGMENTATIONS, DISTANCES, REMOVALS, TASKS
from concertina.registry import Registry
from concertina.score import CRITERIA
from concertina.search import EXECUTORS, STRATEGIES
from concertina.train import RECIPES


def registries() -> tuple[Registry[Any], ...]:
    """Return every registry of the package, in the order in which data flows."""
    trained = (ZOO, LIBRARIES, SOURCES, TASKS, DISTANCES, AUGMENTATIONS, CRITERIA, WAYS, AXES, RECIPES)
    return (*trained, KINDS, REMOVALS, AUDITS, GUARANTEES, EXPORTERS, LAYOUTS, STRATEGIES, EXECUTORS, THEMES)
