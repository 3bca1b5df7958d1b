"""Where evaluations run: here, or in several processes. Results come back in the order in which they were asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing import get_context
from types import TracebackType

import torch

from concertina.registry import Registry
from concertina.search.evaluate import Evaluator
from concertina.search.extras import needed
from concertina.types import SubnetSpec


class Executor(AbstractContextManager["Executor"], ABC):
    """Runs real evaluations; used as a context, so that what it started is gone afterwards.

    Args:
        evaluator: What measures a spec.
        workers: How many evaluations run at once.
    """

    name: str
    package: str = ""
    """Optional package that it needs, brought by the extra of the same name."""

    def __init__(self, evaluator: Evaluator, workers: int) -> None:
        self.evaluator, self.workers = evaluator, workers

    @abstractmethod
    def values(self, specs: Sequence[SubnetSpec]) -> Iterator[float]:
        """Yield the metric of each spec, in their order, as soon as it is known."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of what was started."""


EXECUTORS: Registry[type[Executor]] = Registry("executor")


def check_executor(name: str) -> None:
    """Refuse an executor that cannot run here.

    Raises:
        UnknownNameError: No such executor.
        ExtraError: Its package is not installed.
    """
    if package := EXECUTORS.get(name).package:
        needed(package, package, f"executor {name!r}")


@EXECUTORS.register("serial", source="ours")
class Serial(Executor):
    """One evaluation after the other, in this process. The default."""

    name = "serial"

    def values(self, specs: Sequence[SubnetSpec]) -> Iterator[float]:
        """Yield the metric of each spec."""
        return map(self.evaluator, specs)


@EXECUTORS.register("processes", source="ours")
class Processes(Executor):
    """Several evaluations at once, each in a process of its own with one thread."""

    name = "processes"

    def __init__(self, evaluator: Evaluator, workers: int) -> None:
        super().__init__(evaluator, workers)
        self._pool = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(evaluator,)
        )

    def values(self, specs: Sequence[SubnetSpec]) -> Iterator[float]:
        """Yield the metric of each spec."""
        return self._pool.map(_value, specs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; evaluations that have not begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


_HERE: list[Evaluator] = []
"""The evaluator of this worker process."""


def _begin(evaluator: Evaluator) -> None:
    torch.set_num_threads(1)
    _HERE[:] = [evaluator]


def _value(spec: SubnetSpec) -> float:
    return _HERE[0](spec)
