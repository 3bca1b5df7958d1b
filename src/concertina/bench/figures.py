"""The Records of a run, looked up by subject, point and who they speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from concertina.measure.latency import UNGATED, UNRESOLVED
from concertina.types import Record

FAMILY = "this family"
"""Who figures of the family itself speak of."""


def scope(subject: str, who: str) -> str:
    """Return the scope of a figure.

    Example:
        >>> scope("digits", "this family")
        'digits/this family'
    """
    return f"{subject}/{who}"


@dataclass(frozen=True)
class Place:
    """A point as the tables call it."""

    name: str
    share: float
    """Share of the core's MACs."""
    spec: str
    """Canonical text of its subnet."""

    @property
    def title(self) -> str:
        """Name and share: "p50 (49.2%)"."""
        return f"{self.name} ({self.share:.1%})"


WHOLE = Place("", 1.0, "")
"""Stands for a family as a whole."""


@dataclass(frozen=True)
class Figures:
    """The figures of a run."""

    records: Sequence[Record]
    places: Mapping[str, Sequence[Place]]
    """Subject -> its points, smallest first."""
    runtimes: Mapping[str, str] = field(default_factory=dict)
    """Runtime -> version of what runs it; empty where it is not installed."""

    def one(self, metric: str, subject: str, who: str, place: Place = WHOLE) -> Record | None:
        """Return the figure of a kind, None where there is none; marks of doubt on its scope do not count."""
        wanted = (metric, scope(subject, who), place.spec)
        return next((r for r in self.records if (r.metric, unmarked(r.scope), r.spec) == wanted), None)

    def who(self, metric: str, subject: str) -> list[str]:
        """Return of whom there are figures of a kind, in the order of the records."""
        scopes = dict.fromkeys(unmarked(r.scope).partition("/") for r in self.records if r.metric == metric)
        return [who for name, _, who in scopes if name == subject]

    def subjects(self, metric: str) -> list[str]:
        """Return the subjects that have figures of a kind."""
        return [name for name in self.places if self.who(metric, name)]


def in_doubt(record: Record) -> bool:
    """Return whether a figure is marked as not to be trusted."""
    return bool({UNGATED, UNRESOLVED} & set(record.scope.split()))


def unmarked(text: str) -> str:
    """Return a scope without its marks of doubt.

    Example:
        >>> unmarked("digits/batch=1 threads=1 unresolved")
        'digits/batch=1 threads=1'
    """
    return " ".join(word for word in text.split() if word not in (UNGATED, UNRESOLVED))
