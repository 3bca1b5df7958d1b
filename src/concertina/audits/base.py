"""The one shape of an audit, and of a way to bound false negatives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from concertina.measure.answers import Answers
from concertina.registry import Registry
from concertina.types import Record

CONFIDENCE = 0.95
"""Confidence of whatever is promised with one, and of all intervals."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What points are compared with; every Record of a comparison has its kind in its name."""

    kind: Literal["core", "full"]
    """The core as loaded; or the full point, where the core's answers to this data are not known."""
    spec: str
    predictions: Tensor
    """Predicted classes, (samples,) int64, in the order of the data."""


class Audit(ABC):
    """Looks at what one network answers to labelled data; final classes only, found through `AUDITS`."""

    metrics: tuple[str, ...]
    """Names of its Records; "REFERENCE" in one stands for the kind of reference."""

    @abstractmethod
    def records(self, answers: Answers, reference: Reference) -> list[Record]:
        """Return the figures with counts and 95% intervals; `data` and `versions` are filled in by the caller.

        Args:
            answers: What the network answered.
            reference: What the core, or the full point, answered to the same samples. Where that is this network
                itself, there is nothing to compare.
        """


class Guarantee(ABC):
    """A way to bound the false-negative rate of a class; final classes only, found through `GUARANTEES`.

    A class is found where its softmax probability reaches a threshold. Which threshold holds a bound is decided by how
    many of `n` samples of the class, drawn independently of the network, it may miss.
    """

    confidence: float
    """Confidence with which a bound holds; 0 for one that holds on average only."""

    @abstractmethod
    def misses(self, n: int, bound: float, statements: int) -> int:
        """Return how many of `n` samples a threshold may miss; -1 where even none would be too many.

        Args:
            n: Samples of the class.
            bound: Largest false-negative rate, above 0 and below 1.
            statements: How many promises (points times classes) are asked for together.
        """

    @abstractmethod
    def samples(self, bound: float, statements: int) -> int:
        """Return the fewest samples of the class that can support a bound; arguments as for `misses`."""

    @abstractmethod
    def at_most(self, misses: int, n: int, statements: int) -> float:
        """Return the false-negative rate that is promised for a threshold with so many misses of `n`."""


AUDITS: Registry[type[Audit]] = Registry("audit")
GUARANTEES: Registry[type[Guarantee]] = Registry("promise method")
