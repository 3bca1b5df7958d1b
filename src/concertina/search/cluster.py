"""Evaluations on several machines, through Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import torch

from concertina.errors import InputError
from concertina.search.evaluate import Evaluator
from concertina.search.executor import EXECUTORS, Executor
from concertina.search.extras import needed
from concertina.types import SubnetSpec


@EXECUTORS.register("ray", source="Moritz et al. 2018, Ray (arXiv:1712.05889)", year=2018)
class Ray(Executor):
    """Several evaluations at once, each in a worker of a Ray cluster with one core and one thread.

    The cluster is the one that RAY_ADDRESS names, or that the program is connected to; otherwise one is started on this
    machine and ended afterwards. Every machine needs Concertina; the family and the data are sent to each once.
    """

    name = "ray"
    package = "ray"

    def __init__(self, evaluator: Evaluator, workers: int) -> None:
        super().__init__(evaluator, workers)
        self._ray: Any = needed("ray", "ray", "executor 'ray'")
        self._started = not self._ray.is_initialized()
        try:
            if self._started:
                self._ray.init(log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            said = str(error).split("\n")[0]
            do = "Check RAY_ADDRESS, and that the cluster is up."
            raise InputError("no Ray cluster can be reached or started", asked=said, do=do) from error
        self._evaluator = self._ray.put(evaluator)
        self._measure = self._ray.remote(num_cpus=1)(_measured)

    def values(self, specs: Sequence[SubnetSpec]) -> Iterator[float]:
        """Yield the metric of each spec; `workers` of them are under way at once.

        Raises:
            InputError: A worker was lost, several times over.
        """
        waiting: deque[Any] = deque()
        for spec in specs:
            if len(waiting) == self.workers:
                yield self._value(waiting.popleft())
            waiting.append(self._measure.remote(self._evaluator, spec))
        while waiting:
            yield self._value(waiting.popleft())

    def _value(self, reference: Any) -> float:
        try:
            return float(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            said = str(error).strip().split("\n")[0]
            do = "What was measured is in the journal: go on with --resume."
            raise InputError("the Ray cluster lost an evaluation", asked=said, do=do) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the cluster if it was started here."""
        if self._started:
            self._ray.shutdown()


def _measured(evaluator: Evaluator, spec: SubnetSpec) -> float:
    torch.set_num_threads(1)
    return evaluator(spec)
