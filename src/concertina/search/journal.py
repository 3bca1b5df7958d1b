"""The journal of a search: one line of JSON a measurement, so that nothing measured is lost to kill -9."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from concertina.errors import ResumeError, SpecError, StorageError
from concertina.types import SubnetSpec

FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """One line: what was measured in which round."""

    number: int
    """Round, from 0."""
    spec: SubnetSpec
    value: float
    """The task's metric."""


class Journal:
    """Measurements in the order in which they were made; kept in a file where one is given.

    Args:
        path: The file; None keeps nothing.
        run: What two searches must share for one to go on where the other stopped, JSON values only.
        resume: Go on with what the file holds; otherwise it is begun anew.

    Raises:
        ResumeError: The file belongs to another search, or is no journal.
        StorageError: The disk refuses.
    """

    def __init__(self, path: Path | None, run: Mapping[str, object], *, resume: bool = False) -> None:
        self.entries: list[Entry] = []
        self._path = path
        header = json.dumps({"search": FORMAT, **run}, sort_keys=True)
        if path is not None and resume and path.exists():
            self._read(path, header)
        elif path is not None:
            self._write(header, "w")

    def add(self, entry: Entry) -> None:
        """Keep a measurement; it is on the disk when this returns.

        Raises:
            StorageError: The disk refuses.
        """
        self.entries.append(entry)
        if self._path is not None:
            line = {"round": entry.number, "spec": entry.spec.text, "value": entry.value}
            self._write(json.dumps(line, allow_nan=False), "a")

    def _write(self, line: str, mode: str) -> None:
        path = self._path or Path(os.devnull)
        try:
            with path.open(mode, encoding="utf-8") as file:
                file.write(f"{line}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"writing {str(path)!r}", asked=error.strerror or str(error)) from error

    def _read(self, path: Path, header: str) -> None:
        """Take up what the file holds; a last line that was cut off in writing is dropped."""
        try:
            text = path.read_bytes()
        except OSError as error:
            raise StorageError(f"reading {str(path)!r}", asked=error.strerror or str(error)) from error
        whole = text[: text.rfind(b"\n") + 1]
        if not whole:
            self._write(header, "w")
            return
        first, *lines = whole.decode("utf-8", errors="replace").splitlines()
        _check_same(path, first, header)
        self.entries = [_entry(path, line) for line in lines]
        if len(whole) < len(text):
            os.truncate(path, len(whole))


def _check_same(path: Path, found: str, wanted: str) -> None:
    if found == wanted:
        return
    try:
        kept, asked = json.loads(found), json.loads(wanted)
        differing = [name for name in asked if kept.get(name) != asked[name]]
    except (ValueError, AttributeError):
        raise ResumeError(f"{str(path)!r} is no journal of a search", do="Begin anew, with another name.") from None
    raise ResumeError(
        f"{str(path)!r} belongs to another search",
        asked=f"another {', '.join(differing) or 'format'}",
        do="Begin anew.",
    )


def _entry(path: Path, line: str) -> Entry:
    try:
        content = json.loads(line)
        entry = Entry(int(content["round"]), SubnetSpec.parse(content["spec"]), float(content["value"]))
    except (ValueError, TypeError, KeyError, AttributeError, SpecError):
        entry = None
    if entry is None or not math.isfinite(entry.value):
        raise ResumeError(f"a line of {str(path)!r} is no measurement", asked=repr(line[:60]), do="Begin anew.")
    return entry
