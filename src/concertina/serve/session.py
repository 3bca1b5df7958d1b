"""A session: one family, all of its points ready, and for each request the right one."""

from __future__ import annotations

import logging
import math
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from concertina.errors import InputError, PointError, did_you_mean
from concertina.export import EAGER
from concertina.family import Family
from concertina.family import open as open_file
from concertina.family.modules import AUTO
from concertina.serve.batching import Job, Waiting
from concertina.serve.choosing import Chooser
from concertina.serve.counts import Counts
from concertina.serve.engines import Progress, make_engine
from concertina.serve.offers import offers_of, timed
from concertina.serve.policy import Policy, Rules, Wish
from concertina.serve.settings import USUAL_PRIORITY, Answer, Request, Settings, check_request
from concertina.serve.signature import signature_of
from concertina.types import Point

log = logging.getLogger("concertina")
Computed = tuple[tuple[Tensor, ...], tuple[str, ...]]
"""Outputs, each (samples, ...), and the module of each sample where the router chose."""


class Session:
    """Owns one family and answers requests, from any number of threads.

    Opening it makes every point ready: each is run and timed. One thread computes; requests wait in a bounded queue,
    and those for one point go together. No subnet is ever "active": a request names its point, or the policy does.
    While it is open the family must not be changed; it may grow, which a session opened later sees.

    Args:
        source: A family, or its file.
        settings: How to serve; see `Settings`.
        module: Your own network, for the file of a family that was made from one.
        progress: Told what is being done, and the share of it that is done.

    Raises:
        FormatError, LoadError: As for `concertina.open`.
        InputError: A setting is out of range.
        BoundError: No point meets the floor.
        ExtraError, ExportError: The runtime is not installed, or cannot run a point.
    """

    def __init__(
        self,
        source: Family | str | Path,
        settings: Settings | None = None,
        *,
        module: nn.Module | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.settings.check()
        tell = progress or (lambda _what, _done: None)
        self.family = source if isinstance(source, Family) else open_file(source, module)
        self._points = tuple(self.family.points)
        self.counts = Counts()
        self._engine = make_engine(
            self.family, self.settings.runtime, self.settings.threads, self.settings.copy_bytes, tell
        )
        try:
            self._policy = self._warmed_up(tell)
        except BaseException:
            self._engine.close()
            raise
        self._chooser = Chooser(self._policy, lambda reason: self.counts.refusal(reason))
        self._queue = Waiting(self.settings.max_batch, self._chooser.time_ms, self._chooser.settle, self._chooser.suits)
        self._worker = threading.Thread(target=self._work, name="concertina-session", daemon=True)
        self._worker.start()

    @property
    def points(self) -> tuple[Point, ...]:
        """The points that answer, smallest first."""
        return self._points

    @property
    def times_ms(self) -> dict[str, dict[int, float]]:
        """Point -> inputs in one call -> milliseconds, as measured when the session opened."""
        return {offer.name: dict(offer.times_ms) for offer in self._policy.offers}

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def slowdown(self) -> float:
        """How much longer calls take now than when they were measured."""
        return self._chooser.slowdown

    def infer(self, *inputs: Any, **request: Unpack[Request]) -> Answer:
        """Return the answer to a request.

        Args:
            *inputs: What the network is called with: tensors or arrays, each (samples, ...).
            **request: See `Request`: latency_budget_ms, min_accuracy, subnet, module, priority, timeout_ms.

        Raises:
            InputError: The inputs do not fit the network, or a parameter is wrong.
            PointError, UnknownNameError: There is no such point or module.
            BudgetError: No point can meet the budget or the accuracy, however little is ahead.
            BusyError: Too much work is ahead, or the session is closed.
            LateError: The request waited longer than its timeout.
        """
        return self.submit(*inputs, **request).result()

    def submit(self, *inputs: Any, **request: Unpack[Request]) -> Future[Answer]:
        """Put a request in the queue and return its answer to come; arguments and errors as for `infer`."""
        arrived = time.perf_counter()
        try:
            tensors = tuple(_as_tensor(given) for given in inputs)
            samples = self.signature.check(tensors, self.settings.max_batch)
            wish, module = self._wish(samples, request)
        except InputError:
            self.counts.refusal("input")
            raise
        priority, timeout_ms = request.get("priority", USUAL_PRIORITY), request.get("timeout_ms")
        kind = (wish, module, tuple(tensor.shape[1:] for tensor in tensors))
        future: Future[Answer] = Future()
        with self._queue.admission(priority) as (load, put):
            decision = self._chooser.admit(kind, wish, load, arrived)
            expires = math.inf if timeout_ms is None else arrived + timeout_ms / 1000
            least = self._chooser.least_ms(wish)
            put(Job(tensors, wish, decision, module, priority, arrived, expires, future, least))
        return future

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests, finish those that wait, and let go of everything; closing twice is closing once.

        Args:
            drain: Whether waiting requests are answered; else they are refused.
        """
        self._queue.close(drain=drain)
        if threading.current_thread() is not self._worker:
            self._worker.join()
        self._engine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        times = ", ".join(f"{offer.name} {offer.time_ms(1):.3g} ms" for offer in self._policy.offers)
        return f"Session({self.family.core.source}, {self.settings.runtime}: {times})"

    def _warmed_up(self, tell: Progress) -> Policy:
        """Make copies, run and time every point, and return the policy over what was found."""
        while self._engine.improve():
            pass
        tell("warming up", 0.0)
        full, example = self.points[-1].name, self.family.core.example_inputs
        outputs = self._engine(full, "", example)
        self.signature = signature_of(self.family.core, outputs, free_length=self.settings.runtime == EAGER)
        self._splits = all(output.ndim and len(output) == len(example[0]) for output in outputs)
        for point in self.points[:-1]:
            self._engine(point.name, "", example)
        times = self.settings.times_ms or self._timed()
        tell("warming up", 1.0)
        return Policy(offers_of(self.family, times, self.settings.floor), Rules(limit=self.settings.queue_limit))

    def _timed(self) -> dict[str, dict[int, float]]:
        return timed(self.family, self._engine, sorted({1, self.settings.max_batch}), self.settings.measure_s)

    def _wish(self, samples: int, request: Request) -> tuple[Wish, str]:
        check_request(request)
        subnet, module = request.get("subnet", ""), request.get("module", "")
        names = [point.name for point in self.points]
        if subnet and subnet not in names:
            do = did_you_mean(subnet, names)
            raise PointError("unknown subnet", asked=repr(subnet)[:100], allowed=", ".join(names), do=do)
        if module and not self.settings.modules:
            allowed = "none here; of a file that is still arriving, modules come last"
            raise InputError("module", asked=repr(module)[:100], allowed=allowed)
        if module:
            self._engine.check(module)
            if request.get("min_accuracy") is not None:
                do = "Name the subnet, or leave one of both out."
                asked, allowed = f"with module {module!r}"[:100], "without: figures are those of plain points"
                raise InputError("min_accuracy", asked=asked, allowed=allowed, do=do)
        budget = request.get("latency_budget_ms") or self.settings.latency_budget_ms
        return Wish(samples, budget, request.get("min_accuracy"), subnet), module

    def _work(self) -> None:
        """Answer requests until the session is closed."""
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)
        while (batch := self._queue.take()) is not None:
            try:
                self._answer(batch)
            except Exception as error:  # whatever it is, nobody is left waiting
                log.exception("an answer could not be handed out")
                for job in batch:
                    if not job.future.done():
                        job.future.set_exception(error)
            self._improve()

    def _improve(self) -> None:
        """Make a copy of a hot subnet while nobody waits; where that fails, views go on answering."""
        if not self._queue:
            try:
                self._engine.improve()
            except Exception as error:  # no memory for a copy is no reason to stop
                log.warning("no copy of a subnet was made: %s: %s", type(error).__name__, str(error)[:300])

    def _answer(self, batch: list[Job]) -> None:
        """Compute a batch and give each job its part; an input that cannot be computed spoils no other job."""
        start = time.perf_counter()
        try:
            computed = self._compute(batch)
        except Exception as error:  # a network raises what it likes, and the server must live on
            if len(batch) > 1:
                for job in batch:
                    self._answer([job])
                return
            log.warning("the network cannot compute a request: %s: %s", type(error).__name__, str(error)[:300])
            self.counts.refusal("input")
            said = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
            refused = InputError("the network cannot compute on these inputs", asked=said)
            batch[0].future.set_exception(error if isinstance(error, InputError) else refused)
            return
        self._hand_out(batch, computed, start, 1000 * (time.perf_counter() - start))

    def _compute(self, batch: list[Job]) -> Computed:
        first = batch[0]
        if len(batch) == 1:
            inputs = first.inputs
        elif not self._splits:
            raise InputError("outputs of this network", asked="several requests in one call", allowed="one at a time")
        else:
            inputs = tuple(torch.cat(tensors) for tensors in zip(*(job.inputs for job in batch), strict=True))
        if first.module == AUTO:
            return self._engine.routed(first.decision.point, inputs)
        return self._engine(first.decision.point, first.module, inputs), ()

    def _hand_out(self, batch: list[Job], computed: Computed, start: float, compute_ms: float) -> None:
        outputs, modules = computed
        point, total = batch[0].decision.point, sum(job.wish.samples for job in batch)
        self._chooser.took(point, total, compute_ms)
        self.counts.call(point, total, compute_ms)
        first = 0
        for job in batch:
            own = slice(first, first + job.wish.samples)
            first = own.stop
            answer = Answer(
                outputs=outputs if len(batch) == 1 else tuple(output[own] for output in outputs),
                point=point,
                why=job.decision.why,
                predicted_ms=job.decision.predicted_ms,
                queue_ms=1000 * (start - job.arrived_s),
                compute_ms=compute_ms,
                batch=total,
                budget_ms=job.wish.budget_ms,
                modules=modules[own],
            )
            self.counts.answer(point, answer.queue_ms, in_time=answer.in_time)
            job.future.set_result(answer)


def _as_tensor(given: Any) -> Tensor:
    """Return an input as a tensor; arrays are not copied.

    Raises:
        InputError: It is neither a tensor nor an array of numbers.
    """
    if isinstance(given, Tensor):
        return given.detach()
    try:
        array = np.ascontiguousarray(given)
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError) as error:
        raise InputError("input", asked=type(given).__name__, allowed="a tensor or an array of numbers") from error
