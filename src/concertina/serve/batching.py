"""The bounded queue of a session: requests for one point and of one shape are computed together.

Nobody waits for company. What has gathered while the network was busy goes together into the next call, as far as
that is quicker than one by one and nobody's budget suffers.
"""

from __future__ import annotations

import bisect
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor

from concertina.errors import BusyError, LateError
from concertina.serve.policy import Decision, Load, Wish
from concertina.serve.settings import Answer

Key = tuple[str, str, tuple[tuple[int, ...], ...]]
"""Point, module and the shapes of one sample: what requests of one call have in common."""
TimeOf = Callable[[str, int], float]
"""(point, samples) -> milliseconds of a call as it goes now."""
MOST_BEHIND = 128
"""So many of those behind it are looked at when a request's turn comes."""
Clock = Callable[[], float]


@dataclass(eq=False)
class Job:
    """A request in the queue."""

    inputs: tuple[Tensor, ...]
    """Each (samples, ...)."""
    wish: Wish
    decision: Decision
    """Which point answers; while the job waits it may become a smaller one."""
    module: str
    priority: int
    arrived_s: float
    expires_s: float
    """When it stops waiting; inf for never."""
    future: Future[Answer]
    least_ms: float = 0.0
    """Time that the fastest point which may answer takes, as measured when the session opened."""
    number: int = 0
    """Place in the order of arrival."""

    @property
    def key(self) -> Key:
        """What it must share with others to be computed with them."""
        return self.decision.point, self.module, tuple(tuple(tensor.shape[1:]) for tensor in self.inputs)

    @property
    def rank(self) -> tuple[int, int]:
        """Its place in the queue: by priority, then by arrival."""
        return self.priority, self.number

    @property
    def deadline_s(self) -> float:
        """When its answer is due; inf for no hurry."""
        return math.inf if self.wish.budget_ms is None else self.arrived_s + self.wish.budget_ms / 1000


class Waiting:
    """Jobs by priority and arrival; `admit` and `take` are safe from many threads.

    Args:
        max_batch: Most samples in one call.
        time_of: Predicts how long a call takes.
        settle: Looks at the job whose turn it is and at those behind it: returns the decision that holds now, or None
            after it has told the job's future that there will be no answer.
        suits: Whether a job may be answered by a point in company; by the point it was given unless said.
        clock: Seconds, from any start; for tests.
    """

    def __init__(
        self,
        max_batch: int,
        time_of: TimeOf,
        settle: Callable[[Job, Sequence[Job], float], Decision | None],
        suits: Callable[[Job, str], bool] | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._max_batch, self._time_of, self._settle, self.clock = max_batch, time_of, settle, clock
        self._suits = suits or (lambda job, point: job.decision.point == point)
        self._jobs: list[Job] = []
        self._samples: Counter[tuple[int, Key]] = Counter()
        self._least_ms: defaultdict[int, float] = defaultdict(float)
        self._changed = threading.Condition()
        self._arrived = 0
        self._busy_until_s = 0.0
        self._closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    @contextmanager
    def admission(self, priority: int) -> Iterator[tuple[Load, Callable[[Job], None]]]:
        """Give what stands before a new job and how to put it in; nobody else comes in between.

        Args:
            priority: Of the new job.

        Raises:
            BusyError: The queue takes no more.
        """
        with self._changed:
            if self._closed:
                raise BusyError("this session is closing", retry_after_s=1.0)
            ahead, least = self._ahead_ms(priority)
            yield Load(ahead, len(self._jobs), least_ms=least), self._put

    def take(self) -> list[Job] | None:
        """Wait for work and return the jobs of the next call, all of one key; None once the queue is closed and empty.

        Jobs that have waited longer than their timeout are told so and dropped.
        """
        with self._changed:
            self._busy_until_s = 0.0
            while True:
                while not self._jobs and not self._closed:
                    self._changed.wait()
                if not self._jobs:
                    return None
                if batch := self._next():
                    total = sum(job.wish.samples for job in batch)
                    self._busy_until_s = self.clock() + self._time_of(batch[0].decision.point, total) / 1000
                    return batch

    def close(self, *, drain: bool) -> None:
        """Let nobody in any more; those who wait are still served, or told that they are not.

        Args:
            drain: Whether they are served.
        """
        with self._changed:
            self._closed = True
            dropped, self._jobs = ([], self._jobs) if drain else (self._jobs, [])
            self._changed.notify_all()
        for job in dropped:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(BusyError("this session was closed"))

    def _put(self, job: Job) -> None:
        self._arrived += 1
        job.number = self._arrived
        bisect.insort(self._jobs, job, key=lambda one: one.rank)
        self._samples[job.priority, job.key] += job.wish.samples
        self._least_ms[job.priority] += job.least_ms
        self._changed.notify()

    def _ahead_ms(self, priority: int) -> tuple[float, float]:
        """Return the predicted time of all that comes first, the running call's rest included: planned, and the least.

        The least is in the times that were measured when the session opened, but for that rest.
        """
        before: Counter[Key] = Counter()
        for (rank, key), samples in self._samples.items():
            if rank <= priority:
                before[key] += samples
        calls = sum(self._calls_ms(key[0], samples) for key, samples in before.items())
        rest = max(0.0, 1000 * (self._busy_until_s - self.clock()))
        return calls + rest, sum(ms for rank, ms in self._least_ms.items() if rank <= priority) + rest

    def _calls_ms(self, point: str, samples: int) -> float:
        whole, rest = divmod(samples, self._max_batch)
        return whole * self._time_of(point, self._max_batch) + (self._time_of(point, rest) if rest else 0.0)

    def _next(self) -> list[Job]:
        """Take the first job out, and those that go with it; none when the first gets no answer."""
        now = self.clock()
        first = self._remove(self._jobs[0])
        if first.expires_s < now:
            waited = f"{1000 * (now - first.arrived_s):.0f} ms"
            if first.future.set_running_or_notify_cancel():
                first.future.set_exception(LateError("timeout of the request", asked=f"a wait of {waited}"))
            return []
        if not first.future.set_running_or_notify_cancel():
            return []
        behind = [job for job in self._jobs[:MOST_BEHIND] if job.priority == first.priority]
        decision = self._settle(first, behind, now)
        if decision is None:
            return []
        first.decision = decision
        company = [self._remove(job) for job in self._company(first, now)]
        for job in company:
            job.decision = replace(decision, predicted_ms=job.decision.predicted_ms)
        return [first, *(job for job in company if job.future.set_running_or_notify_cancel())]

    def _company(self, first: Job, now: float) -> list[Job]:
        """Return the jobs that are quicker computed together with `first` than alone, and make nobody late."""
        (point, *kind), total, due, found = first.key, first.wish.samples, first.deadline_s, []
        together = self._time_of(point, total)
        for job in self._jobs:
            samples = job.wish.samples
            if job.key[1:] != tuple(kind) or job.expires_s < now or total + samples > self._max_batch:
                continue
            longer = self._time_of(point, total + samples)
            quicker = longer - together <= self._time_of(point, samples)
            if quicker and now + longer / 1000 <= min(due, job.deadline_s) and self._suits(job, point):
                found.append(job)
                total, together, due = total + samples, longer, min(due, job.deadline_s)
        return found

    def _remove(self, job: Job) -> Job:
        del self._jobs[bisect.bisect_left(self._jobs, job.rank, key=lambda one: one.rank)]
        left = (job.priority, job.key)
        self._samples[left] -= job.wish.samples
        if not self._samples[left]:
            del self._samples[left]
        self._least_ms[job.priority] -= job.least_ms
        if not self._jobs:
            self._least_ms.clear()  # so that no rounding adds up
        return job
