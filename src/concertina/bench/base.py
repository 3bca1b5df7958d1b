"""The one shape of a theme: it measures families beside their peers, and tells what it found as a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from concertina.bench.figures import Figures
from concertina.bench.verdicts import Bar
from concertina.family import Family
from concertina.load.data import TensorData
from concertina.registry import Registry
from concertina.train import Reporter, TrainSettings
from concertina.types import Core, Graph, Record


@dataclass(frozen=True)
class Effort:
    """How much time a run takes."""

    large: str
    """Network of the zoo whose sizes and structure are measured beside the trained one."""
    tuned: bool
    """Whether rivals are trained too, each by itself."""
    repeats: int
    """Times that opening and switching are repeated."""
    latency_s: float
    """Longest time for one try of one comparison of latencies."""
    tries: int
    """How often a comparison is measured until its control holds."""
    batches: tuple[int, ...]
    """Inputs in one call, for views beside copies."""
    exported_batches: tuple[int, ...]
    """Inputs in one call, for speed-ups in other runtimes."""
    most_runtimes: int
    """How many runtimes beside torch have their speed-ups timed."""
    exported_subjects: int
    """How many families have exported subnets timed beside exported networks built by hand; 0: no export is sized."""


QUICK = Effort(
    large="cifar-resnet20",
    tuned=False,
    repeats=2,
    latency_s=3.0,
    tries=2,
    batches=(1,),
    exported_batches=(32,),
    most_runtimes=1,
    exported_subjects=0,
)
FULL = Effort(
    large="cifar-resnet56",
    tuned=True,
    repeats=5,
    latency_s=6.0,
    tries=2,
    batches=(1, 32),
    exported_batches=(1, 32),
    most_runtimes=2,
    exported_subjects=1,
)


@dataclass(frozen=True, eq=False)
class Subject:
    """A family with its file."""

    name: str
    """What figures call it: "digits-cnn"."""
    family: Family
    path: Path


@dataclass(frozen=True, eq=False)
class Tuning:
    """How rivals are trained by themselves: as the family was."""

    train: TensorData
    settings: TrainSettings


@dataclass(frozen=True, eq=False)
class Study:
    """What the quality of the first subject is measured on, and against."""

    held: TensorData
    core: Core | None
    """The core that the family was made from; None where it is not at hand."""
    base: Core
    """What rivals are cut from: the core, or else the family's full point."""
    graph: Graph
    """Groups of `base`."""
    tuning: Tuning | None = None
    """None where there is nothing to train rivals on."""


@dataclass(frozen=True, eq=False)
class Job:
    """All that themes measure."""

    subjects: tuple[Subject, ...]
    """Families; quality is measured of the first, speed-ups in other runtimes of the last."""
    study: Study | None
    """None where there is no data."""
    effort: Effort
    folder: Path
    """Where files may be written; it is gone afterwards."""
    tell: Reporter = field(default=lambda _stage, _done: None)


class Theme(ABC):
    """One thing that is measured; final classes only, found through `THEMES`.

    Tables and bars are made from Records alone, so that a run file tells all that was printed.
    """

    title: str

    @abstractmethod
    def measure(self, job: Job) -> list[Record]:
        """Measure and return the figures; a figure's scope is "SUBJECT/WHO"."""

    @abstractmethod
    def lines(self, figures: Figures) -> Sequence[str]:
        """Return the Markdown lines that tell the figures; none where nothing was measured."""

    @abstractmethod
    def bars(self, figures: Figures) -> Sequence[Bar]:
        """Return what was to be reached, and whether it was."""


THEMES: Registry[type[Theme]] = Registry("theme")


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table.

    Example:
        >>> markdown(("a", "b"), [("1", "2")])
        ['| a | b |', '|---|---|', '| 1 | 2 |']
    """
    head, *body = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (titles, *rows))
    return [head, "|" + "---|" * len(titles), *body]
