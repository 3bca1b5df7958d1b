"""Optional packages of search, imported when they are first needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from concertina.errors import ExtraError, how_to_install


def needed(package: str, extra: str, what: str) -> ModuleType:
    """Return an optional package.

    Args:
        package: Its name.
        extra: The extra of Concertina that brings it.
        what: What needs it, to begin the error.

    Raises:
        ExtraError: It is not installed; the text says how to get it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        do = how_to_install(extra)
        raise ExtraError(f"{what} needs a package that is not installed", asked=error.name or package, do=do) from error
