"""What is known of a subnet: what it costs, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from concertina.types.space import SubnetSpec


@dataclass(frozen=True)
class Point:
    """An operating point: a spec that was trained or calibrated and can be served as it is."""

    name: str
    """Name users type: "p50" for half of the core's MACs."""
    spec: SubnetSpec
    position: int
    """Position in the growth order; -1 for an extra whose spec is not a prefix of it."""
    macs: int
    """Multiply-accumulates for one input."""
    params: int
    size_bytes: int
    """Bytes of all its tensors, private ones included."""
    share: float
    """Its MACs as a share of the core's."""
    metrics: tuple[tuple[str, float], ...] = ()
    """Headline figures (metric name, value), each also a Record."""

    def with_metrics(self, metrics: Mapping[str, float]) -> Point:
        """Return this point with headline figures."""
        return replace(self, metrics=tuple(sorted(metrics.items())))


@dataclass(frozen=True)
class Record:
    """One measured figure, with all that is needed to measure it again."""

    spec: str
    """Canonical text of the subnet; "core" for the core itself."""
    metric: str
    """What was measured: "accuracy", "latency_ms_p95" ..."""
    value: float
    unit: str
    """Unit of the value: "share", "ms", "MACs", "bytes" ..."""
    n: int = 1
    """How many samples or runs it rests on."""
    low: float | None = None
    """Lower end of the 95% interval (or spread), where there is one."""
    high: float | None = None
    """Upper end."""
    seed: int | None = None
    scope: str = ""
    """What part it speaks of: a class name, "batch=1 threads=2", or empty for the whole."""
    machine: str = ""
    """Fingerprint of the machine, for figures that depend on it."""
    versions: str = ""
    """Versions of concertina and torch."""
    data: str = ""
    """Fingerprint of the data."""


def data_key(fingerprint: str) -> str:
    """Return the label under which a family's provenance says in words what data a Record was measured on.

    Args:
        fingerprint: `Record.data`.

    Example:
        >>> data_key("0123456789abcdef0123")
        'data 0123456789ab'
    """
    return f"data {fingerprint[:12]}"
