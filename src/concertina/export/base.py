"""The one shape of an exporter: it writes a subnet as a file of another runtime, and loads such a file to be called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from concertina.measure.latency import Runner
from concertina.registry import Registry

if TYPE_CHECKING:
    from torch.export import ExportedProgram

EAGER = "eager"
"""Name of torch itself among the runtimes."""


@dataclass(frozen=True)
class ExporterTags:
    """What an exporter can do, for the support table."""

    free_batch: bool
    """Whether a file takes any number of inputs in one call."""
    shares_weights: bool
    """Whether all points of a family can lie on one file of weights."""


class Program(ABC):
    """An exported file, loaded: call it with tensors, or time it."""

    @abstractmethod
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for `inputs`, each (batch, ...)."""

    @abstractmethod
    def runner(self, *inputs: Tensor) -> Runner:
        """Return a callable without arguments that computes the outputs for `inputs`, for `measure.latency`."""


class Exporter(ABC):
    """A file format together with the runtime that runs it; final classes only, found through `EXPORTERS`."""

    name: str
    suffix: str
    """How the file's name ends, with the dot."""
    tags: ExporterTags

    @abstractmethod
    def require(self) -> None:
        """Raise `ExtraError`, with the command that installs them, when packages of this exporter are missing."""

    @abstractmethod
    def write(self, program: ExportedProgram, path: Path, facts: Mapping[str, str]) -> tuple[Path, ...]:
        """Write a captured subnet and return all files written, `path` first.

        Args:
            program: The subnet as `capture` gives it.
            path: The file to write; it ends in `suffix`.
            facts: Plain facts that the file carries along (point, classes, preprocessing).

        Raises:
            ExportError: The format cannot express the network.
        """

    @abstractmethod
    def load(self, path: Path, threads: int | None = None) -> Program:
        """Return the file ready to be called, computing in float32.

        Args:
            path: A file that `write` made.
            threads: Threads the runtime may use inside one call; its own choice unless said.

        Raises:
            ExportError: The runtime refuses the file.
        """


EXPORTERS: Registry[type[Exporter]] = Registry("exporter")
LAYOUTS: Registry[Callable[..., object]] = Registry("layout")
"""Folders that another server reads, made of exported points: beside the exporters, the values of `--to`."""


def runtimes() -> tuple[str, ...]:
    """Return the names of all runtimes a subnet can be timed in, torch itself first.

    Example:
        >>> runtimes()
        ('eager', 'onnx', 'openvino')
    """
    return (EAGER, *EXPORTERS.names())
