"""Run files: one JSON a measurement, so that no figure is quoted without the file that holds it."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from concertina.errors import InputError, StorageError
from concertina.measure.machine import machine_fingerprint, versions
from concertina.types import Record


@dataclass(frozen=True)
class Run:
    """What one run file holds."""

    theme: str
    """What was measured, lower case with dashes: "r20-views"."""
    machine: str
    date: str
    """When, in UTC: "2026-11-21T07:02:11Z"."""
    versions: str
    seed: int | None
    records: tuple[Record, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else is needed to run it again, JSON values only."""

    @property
    def file_name(self) -> str:
        """Theme, machine and date: "r20-views_amd-epyc-2-cores-x86-64-linux_20261121T070211Z.json"."""
        machine = re.sub(r" \([^)]*\)(?=;|$)", "", self.machine)
        return f"{self.theme}_{_dashes(machine)}_{re.sub('[-:]', '', self.date)}.json"


def new_run(
    theme: str,
    records: Sequence[Record],
    *,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> Run:
    """Return a run of this machine and these versions, dated now.

    Raises:
        InputError: The theme is not lower case letters, digits and dashes.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", theme):
        raise InputError("theme of a run", asked=repr(theme), allowed="lower case letters, digits, single dashes")
    date = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Run(theme, machine_fingerprint(), date, versions(), seed, tuple(records), dict(settings or {}))


def write_run(folder: Path, run: Run) -> Path:
    """Write `run` into `folder` (made where it is missing) and return the file's path; whole or not at all.

    Figures that are not finite are written as null.

    Raises:
        StorageError: The disk refuses.
    """
    path = folder / run.file_name
    content = {**asdict(run), "records": [_finite(asdict(record)) for record in run.records]}
    text = json.dumps(content, indent=1, allow_nan=False, sort_keys=True) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise StorageError(f"cannot write {path}", asked=error.strerror or type(error).__name__) from error
    return path


def read_run(path: Path) -> Run:
    """Return the run that `path` holds.

    Raises:
        InputError: The file is missing or no run file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        records = tuple(Record(**{**one, "value": _number(one["value"])}) for one in content.pop("records"))
        return Run(**content, records=records)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no run file", asked=f"{type(error).__name__}: {error}") from error


def write_whole(path: Path, text: str) -> None:
    """Write through a temporary sibling, so that `path` is never half a file.

    Raises:
        OSError: The disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _dashes(text: str, limit: int = 48) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].strip("-") or "unknown"
