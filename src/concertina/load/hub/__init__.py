"""Networks of the hub's libraries: `hf:` (transformers) and `timm:`, rebuilt from data and never from code."""

from __future__ import annotations

from concertina.load.hub import from_timm, from_transformers
from concertina.load.hub.base import LIBRARIES, MAX_VALUES, Found, Library, is_library, library_of
from concertina.load.hub.folder import fetched

__all__ = [
    "LIBRARIES",
    "MAX_VALUES",
    "Found",
    "Library",
    "fetched",
    "from_timm",
    "from_transformers",
    "is_library",
    "library_of",
]
