"""Bounds on audited figures as people write them: "recall[cat]>=0.8", "ece<=0.05"."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from concertina.errors import InputError
from concertina.types import Record

_WRITTEN = re.compile(r"\s*([a-z0-9_]+)\s*(?:\[(.+)\])?\s*(>=|<=)\s*([^\s<>=]+)\s*")


@dataclass(frozen=True)
class Bound:
    """What a figure must be at least, or at most."""

    metric: str
    scope: str
    """The class; empty for a figure of the whole."""
    least: bool
    """Whether the limit is the lowest allowed; else it is the highest."""
    limit: float

    @classmethod
    def read(cls, text: str) -> Bound:
        """Return the bound that a text states.

        Raises:
            InputError: It is not written as one.

        Example:
            >>> Bound.read("recall[cat] >= 0.8").limit, str(Bound.read("ece<=0.05"))
            (0.8, 'ece<=0.05')
        """
        found = _WRITTEN.fullmatch(text) if isinstance(text, str) else None
        try:
            limit = float(found[4]) if found else math.nan
        except ValueError:
            limit = math.nan
        if found is None or not math.isfinite(limit):
            allowed = "METRIC>=NUMBER or METRIC[CLASS]<=NUMBER, such as 'recall[cat]>=0.8'"
            raise InputError("bound", asked=repr(text), allowed=allowed)
        return cls(found[1], (found[2] or "").strip(), found[3] == ">=", limit)

    def __str__(self) -> str:
        scope = f"[{self.scope}]" if self.scope else ""
        return f"{self.metric}{scope}{'>=' if self.least else '<='}{self.limit:g}"

    def of(self, records: Iterable[Record]) -> list[Record]:
        """Return the Records that it speaks of."""
        return [record for record in records if (record.metric, record.scope) == (self.metric, self.scope)]

    def meets(self, record: Record) -> bool:
        """Return whether a figure is within it; it is the measured value that counts, not an end of its interval."""
        return record.value >= self.limit if self.least else record.value <= self.limit
