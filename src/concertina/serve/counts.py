"""What a session counts, and the text that Prometheus reads."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

BOUNDS_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
"""Upper ends of the buckets of a histogram, in milliseconds."""


class Histogram:
    """How many values fell under each bound, their number and sum."""

    def __init__(self) -> None:
        self._buckets = [0] * (len(BOUNDS_MS) + 1)
        self._sum = 0.0

    def add(self, value_ms: float) -> None:
        """Count a value in milliseconds."""
        self._buckets[bisect_left(BOUNDS_MS, value_ms)] += 1
        self._sum += value_ms

    def lines(self, name: str, label: str) -> Iterator[str]:
        """Yield its lines in seconds; `label` is written as it is."""
        total = 0
        for bound, count in zip((*BOUNDS_MS, None), self._buckets, strict=True):
            total += count
            le = "+Inf" if bound is None else f"{bound / 1000:g}"
            yield f'{name}_bucket{{{label},le="{le}"}} {total}'
        yield f"{name}_sum{{{label}}} {self._sum / 1000:.9g}"
        yield f"{name}_count{{{label}}} {total}"


class Counts:
    """Counters and histograms of one server; safe from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, bool]] = Counter()
        self._refusals: Counter[str] = Counter()
        self._queue: defaultdict[str, Histogram] = defaultdict(Histogram)
        self._compute: defaultdict[str, Histogram] = defaultdict(Histogram)
        self._samples: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()

    def call(self, point: str, samples: int, compute_ms: float) -> None:
        """Count one call of the network."""
        with self._lock:
            self._calls[point] += 1
            self._samples[point] += samples
            self._compute[point].add(compute_ms)

    def answer(self, point: str, queue_ms: float, *, in_time: bool) -> None:
        """Count one answered request."""
        with self._lock:
            self._answers[point, in_time] += 1
            self._queue[point].add(queue_ms)

    def refusal(self, reason: str) -> None:
        """Count one request without an answer: "busy", "impossible", "late" or "input"."""
        with self._lock:
            self._refusals[reason] += 1

    @property
    def answers(self) -> dict[str, int]:
        """Point -> requests that it has answered."""
        with self._lock:
            found: Counter[str] = Counter()
            for (point, _), count in self._answers.items():
                found[point] += count
            return dict(found)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Return everything in the text format of Prometheus.

        Args:
            gauges: Name -> what it says and its value.
        """
        with self._lock:
            return "\n".join([*self._lines(), *_gauges(gauges)]) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests answered, by subnet and whether within the budget.")
        for (point, in_time), count in sorted(self._answers.items()):
            yield f'concertina_requests_total{{{_subnet(point)},in_time="{str(in_time).lower()}"}} {count}'
        yield from _head("refused_total", "counter", "Requests without an answer, by reason.")
        for reason, count in sorted(self._refusals.items()):
            yield f'concertina_refused_total{{reason="{reason}"}} {count}'
        for name, counter, what in (
            ("calls_total", self._calls, "Calls of the network."),
            ("samples_total", self._samples, "Inputs computed."),
        ):
            yield from _head(name, "counter", what)
            yield from (f"concertina_{name}{{{_subnet(point)}}} {count}" for point, count in sorted(counter.items()))
        for name, histograms, what in (
            ("queue_seconds", self._queue, "Wait of a request in the queue."),
            ("compute_seconds", self._compute, "Time of one call of the network."),
        ):
            yield from _head(name, "histogram", what)
            for point, histogram in sorted(histograms.items()):
                yield from histogram.lines(f"concertina_{name}", _subnet(point))


class Refusals:
    """Counts requests without an answer by HTTP status, whoever refused them; safe from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[int] = Counter()

    def add(self, status: int) -> None:
        """Count one."""
        with self._lock:
            self._counts[status] += 1

    def text(self) -> str:
        """Return the counts in the text format of Prometheus."""
        with self._lock:
            held = sorted(self._counts.items())
        lines = [f'concertina_http_refused_total{{status="{status}"}} {count}' for status, count in held]
        head = _head("http_refused_total", "counter", "Requests without an answer, by HTTP status.")
        return "\n".join([*head, *lines]) + "\n"


def _gauges(gauges: Mapping[str, tuple[str, float]]) -> Iterator[str]:
    for name, (what, value) in gauges.items():
        yield from _head(name, "gauge", what)
        yield f"concertina_{name} {value:.9g}"


def _head(name: str, kind: str, what: str) -> Iterator[str]:
    yield f"# HELP concertina_{name} {what}"
    yield f"# TYPE concertina_{name} {kind}"


def _subnet(point: str) -> str:
    """Return the label of a point; its name is quoted."""
    quoted = point.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'subnet="{quoted}"'
