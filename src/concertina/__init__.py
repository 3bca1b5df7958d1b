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

TYPE_CHECKING = False  # True for those who check types; `typing` would take longer to load than all the rest
if TYPE_CHECKING:
    from typing import Any

    from concertina import serve as serve
    from concertina.analyse import group
    from concertina.errors import ConcertinaError
    from concertina.family import Family, factorize, fit, open, prepare
    from concertina.load import (
        load,
        open_data,
        open_labelled_texts,
        open_table,
        open_tagged_texts,
        open_texts,
        open_tokenizer,
    )
    from concertina.nest import materialize
    from concertina.objective import generate
    from concertina.report import report
    from concertina.search import search
    from concertina.train import Trainer, TrainSettings
    from concertina.types import Core, Point, Preprocess, Record, SubnetSpec

__version__ = "0.1.0"

_HOMES = {
    "ConcertinaError": "errors",
    "Core": "types",
    "Family": "family",
    "Point": "types",
    "Preprocess": "types",
    "Record": "types",
    "SubnetSpec": "types",
    "TrainSettings": "train",
    "Trainer": "train",
    "factorize": "family",
    "fit": "family",
    "generate": "objective",
    "group": "analyse",
    "load": "load",
    "materialize": "nest",
    "open": "family",
    "open_data": "load",
    "open_labelled_texts": "load",
    "open_table": "load",
    "open_tagged_texts": "load",
    "open_texts": "load",
    "open_tokenizer": "load",
    "prepare": "family",
    "report": "report",
    "search": "search",
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
    "factorize",
    "fit",
    "generate",
    "group",
    "load",
    "materialize",
    "open",
    "open_data",
    "open_labelled_texts",
    "open_table",
    "open_tagged_texts",
    "open_texts",
    "open_tokenizer",
    "prepare",
    "report",
    "search",
]


_ROOMS = ("serve",)
"""Rooms that users reach by a dot, loaded at first use."""


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"concertina.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'concertina' has no attribute {name!r}")
    return getattr(importlib.import_module(f"concertina.{_HOMES[name]}"), name)


class _Package(ModuleType):
    """This package; names of functions stay theirs, although rooms of the same names hang themselves up there."""

    def __setattr__(self, name: str, value: object) -> None:
        """Keep the function when the import system brings the room that it comes from."""
        super().__setattr__(name, getattr(value, name) if name in _HOMES and isinstance(value, ModuleType) else value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS, "__version__"])
