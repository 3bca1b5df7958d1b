"""Readers of data files, one kind a file."""

from __future__ import annotations

from pathlib import Path

from concertina.errors import DataError
from concertina.load.sources import digits, images, npz, table
from concertina.load.sources.base import SOURCES, Progress, Raw, Reader, no_progress

__all__ = [
    "SOURCES",
    "Progress",
    "Raw",
    "Reader",
    "digits",
    "images",
    "no_progress",
    "npz",
    "read",
    "selected",
    "table",
]


TEXTS = "Plain text is for networks that read token ids: see concertina.open_texts."
NO_SUFFIX = ("digits", "folder")
"""Sources that no file suffix stands for."""


def read(text: str, class_names: tuple[str, ...] = (), progress: Progress = no_progress) -> Raw:
    """Return what the data text names, as it lies in the file.

    Args:
        text: A path or "zoo:digits", with an optional selection after an at sign.
        class_names: Class names of the network, which fix the numbers of text labels.
        progress: Called with what is being done and the share done.

    Raises:
        DataError: See `concertina.load.open_data`.
    """
    place, selection = selected(text)
    scheme, colon, name = place.partition(":")
    if colon and scheme == "zoo":
        if name != "digits":
            raise DataError(f"data {text!r}", asked=name, allowed="zoo:digits")
        return SOURCES.get("digits")(place, selection, class_names, progress)
    path = Path(place)
    if not _exists(place):
        raise DataError(f"data {place!r}", asked="no such file or folder")
    kind = "folder" if path.is_dir() else path.suffix.lower().lstrip(".")
    if kind not in SOURCES or (kind in NO_SUFFIX and not path.is_dir()):
        asked, do = f"kind {path.suffix or 'none'!r}", TEXTS if kind == "txt" else ""
        raise DataError(f"data {place!r}", asked=asked, allowed=".npz, .parquet, .csv, a folder", do=do)
    return SOURCES.get(kind)(place, selection, class_names, progress)


def selected(text: str) -> tuple[str, dict[str, str]]:
    """Return the place and the selection of "place@key=value,key=value"; a bare value is a split.

    Raises:
        DataError: The selection is not of that form.
    """
    place, at, conditions = text.rpartition("@")
    if not at or _exists(text):
        return text, {}
    selection: dict[str, str] = {}
    for condition in conditions.split(","):
        key, equals, value = condition.partition("=")
        if not condition or (equals and not (key and value)):
            raise DataError(
                f"selection in {text!r}", asked=repr(condition), allowed="'split=train' or 'part=calibration'"
            )
        selection[key if equals else "split"] = value if equals else key
    return place, selection


def _exists(place: str) -> bool:
    """Return whether there is a file or folder of that name; a name that no file can have is not there."""
    try:
        return Path(place).exists()
    except (OSError, ValueError):
        return False
