"""The one guard of optional packages: what is missing is named together with the command that installs it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from concertina.errors import ExtraError, how_to_install

_USAGE_REPORT = "openvino_telemetry"


def need(extra: str, *modules: str) -> tuple[Any, ...]:
    """Return the modules of an extra, imported now.

    OpenVINO reports each import and conversion to its maker unless its telemetry package is missing; imported here,
    it finds that package missing. A program that has imported OpenVINO itself before is left as it is.

    Args:
        extra: Name of the extra: `pip install concertina-nn[extra]`.
        *modules: Modules it brings.

    Raises:
        ExtraError: One of them is not installed.

    Example:
        >>> need("onnx", "math")[0].sqrt(4.0)
        2.0
    """
    try:
        with _no_usage_report():
            return tuple(importlib.import_module(module) for module in modules)
    except ImportError as error:
        missing = error.name or modules[0]
        raise ExtraError(
            f"{extra} export needs a package that is not installed",
            asked=missing,
            do=how_to_install(extra),
        ) from error


@contextmanager
def _no_usage_report() -> Iterator[None]:
    """Let imports inside find no telemetry package; one that is loaded already stays."""
    loaded: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    if _USAGE_REPORT in loaded:
        yield
        return
    loaded[_USAGE_REPORT] = None
    try:
        yield
    finally:
        del loaded[_USAGE_REPORT]
