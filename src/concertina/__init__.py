"""Concertina: one core network, every network you need, on demand.

Names are loaded at first use, so that `import concertina` (and `concertina --help`) does not load torch.

Example:
    >>> import concertina as ct
    >>> core = ct.load("zoo:digits-cnn")
    >>> core.class_names[:3]
    ('0', '1', '2')
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from concertina.errors import ConcertinaError

if TYPE_CHECKING:
    from concertina.family import Family, fit, open, prepare
    from concertina.load import load, open_data
    from concertina.nest import materialize
    from concertina.report import report
    from concertina.train import Trainer, TrainSettings
    from concertina.types import Core, Point, Preprocess, Record, SubnetSpec

__version__ = "0.1.0"

_HOMES = {
    "Core": "types",
    "Family": "family",
    "Point": "types",
    "Preprocess": "types",
    "Record": "types",
    "SubnetSpec": "types",
    "TrainSettings": "train",
    "Trainer": "train",
    "fit": "family",
    "load": "load",
    "materialize": "nest",
    "open": "family",
    "open_data": "load",
    "prepare": "family",
    "report": "report",
}

__all__ = [
    "ConcertinaError",
    "Core",
    "Family",
    "Point",
    "Preprocess",
    "Record",
    "SubnetSpec",
    "TrainSettings",
    "Trainer",
    "fit",
    "load",
    "materialize",
    "open",
    "open_data",
    "prepare",
    "report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'concertina' has no attribute {name!r}")
    return getattr(importlib.import_module(f"concertina.{_HOMES[name]}"), name)


class _Package(ModuleType):
    """This package; `load` and `report` are its functions, although rooms of that name hang themselves up there."""

    @property
    def load(self) -> Any:
        """The function `concertina.load.load`."""
        return importlib.import_module("concertina.load").load

    @load.setter
    def load(self, room: ModuleType) -> None:
        """Let the import system have its way, without effect."""

    @property
    def report(self) -> Any:
        """The function `concertina.report.report`."""
        return importlib.import_module("concertina.report").report

    @report.setter
    def report(self, room: ModuleType) -> None:
        """Let the import system have its way, without effect."""


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
