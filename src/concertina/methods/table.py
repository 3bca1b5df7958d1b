"""The methods table: rows, their evidence, and the status that follows from it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from concertina.errors import InputError
from concertina.methods.parts import registries
from concertina.registry import Registry

STATUSES = ("works", "part", "none")
FAMILIES: Mapping[str, str] = {
    "W": "width",
    "D": "depth",
    "R": "rank",
    "B": "bits",
    "C": "classes",
    "M": "modules",
    "K": "memory",
    "T": "training",
    "S": "search",
    "L": "lifelong learning",
    "Q": "robustness, privacy, provenance",
    "F": "fairness",
    "X": "explanation",
    "G": "generation",
    "E": "diagnostics",
    "A": "application",
}
"""Letter -> what the methods of the family change or look at."""
VERBS: Mapping[str, str] = {
    "task": "fit",
    "distance": "fit",
    "augmentation": "fit",
    "criterion": "fit",
    "axis": "fit",
    "recipe": "fit",
    "audit": "audit",
    "promise method": "audit",
    "exporter": "export",
}
"""Kind of registry -> the command-line verb that uses its parts."""


@dataclass(frozen=True)
class Evidence:
    """One row of `evidence.csv`: what shows a method."""

    id: str
    verb: str
    """Command-line verb that gives the method."""
    status: str
    """"part" or "works"."""
    evidence: str
    """A test ("tests/train/test_x.py::test_y") or a record ("benchmarks/x.json")."""
    note: str
    """What is shown, or what is still missing."""


@dataclass(frozen=True)
class Method:
    """One published method, with what Concertina has of it."""

    id: str
    """Id of the list of methods; "001-30 = 004-104" when it stands there twice."""
    title: str
    family: str
    """Letter of `FAMILIES`."""
    kind: str
    """method, recipe, diagnostic, system, theory or application."""
    capability: str
    """What it lets people do."""
    claim: str
    """What its authors report; not measured by us."""
    tier: int
    """1 for what Concertina exists for, 2 for what lies around it."""
    status: str
    verb: str
    evidence: tuple[str, ...]
    note: str

    @property
    def ids(self) -> tuple[str, ...]:
        """The single ids."""
        return tuple(part.strip() for part in self.id.split("="))


def load_methods(parts: Sequence[Registry[Any]] | None = None) -> tuple[Method, ...]:
    """Return all methods with their status.

    Args:
        parts: Registries whose entries name methods; all of the package when left out.
    """
    shown = load_evidence()
    parts = registries() if parts is None else parts
    return tuple(_method(row, shown, parts) for row in _rows("methods.csv"))


def load_evidence() -> tuple[Evidence, ...]:
    """Return the rows of `evidence.csv`."""
    return tuple(Evidence(**row) for row in _rows("evidence.csv"))


def choose(methods: Sequence[Method], *, status: str = "", family: str = "") -> tuple[Method, ...]:
    """Return the methods of one status, one family, or both; an empty text means any.

    Raises:
        InputError: No such status or family.
    """
    if status and status not in STATUSES:
        raise InputError("status", asked=repr(status), allowed=", ".join(STATUSES))
    if family and family not in FAMILIES:
        known = ", ".join(f"{letter} ({meaning})" for letter, meaning in FAMILIES.items())
        raise InputError("family", asked=repr(family), allowed=known)
    return tuple(m for m in methods if status in ("", m.status) and family in ("", m.family))


def _method(row: Mapping[str, str], shown: Sequence[Evidence], parts: Sequence[Registry[Any]]) -> Method:
    ids = {part.strip() for part in row["id"].split("=")}
    rows = [evidence for evidence in shown if evidence.id in ids]
    named = list(_named(ids, parts))
    works = any(evidence.status == "works" for evidence in rows)
    return Method(
        **{name: row[name] for name in ("id", "title", "family", "kind", "capability", "claim")},
        tier=int(row["tier"]),
        status="works" if works else "part" if rows or named else "none",
        verb=next((text for text in (*(e.verb for e in rows), *(verb for verb, _ in named)) if text), ""),
        evidence=tuple(dict.fromkeys((*(e.evidence for e in rows if e.evidence), *(part for _, part in named)))),
        note="; ".join(dict.fromkeys(e.note for e in rows if e.note)),
    )


def _named(ids: set[str], parts: Sequence[Registry[Any]]) -> Iterator[tuple[str, str]]:
    """Yield the verb and the name of every registered part that implements one of `ids`."""
    for registry in parts:
        for entry in registry:
            if ids & set(entry.methods):
                yield VERBS.get(registry.kind, ""), f"{registry.kind} {entry.name}"


def _rows(name: str) -> list[dict[str, str]]:
    text = (files("concertina.methods") / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
