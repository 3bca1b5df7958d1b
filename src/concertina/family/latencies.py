"""Which measured latencies may be believed here and now."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from concertina.measure.latency import UNGATED, UNRESOLVED, is_of_setting, setting
from concertina.measure.machine import machine_fingerprint, versions
from concertina.types import Point, Record

log = logging.getLogger("concertina")


class Timed(Protocol):
    """What a family is to whoever asks for its latencies."""

    @property
    def points(self) -> Sequence[Point]:
        """The operating points that are here."""

    @property
    def records(self) -> tuple[Record, ...]:
        """Every measured figure."""

    def measure_latency(self, *, batch: int, threads: int) -> Sequence[Record]:
        """Measure every point and keep the Records."""


def known_latencies(records: Sequence[Record], wanted: str, *, rough: bool = False) -> dict[str, float]:
    """Return spec text -> median milliseconds on this machine with these versions.

    Args:
        records: All Records; the last of a kind counts.
        wanted: The setting, as `measure.latency.setting` writes it.
        rough: Whether to give the figures marked as not to be trusted, instead of those without a mark.
    """
    here = (machine_fingerprint(), versions())
    return {
        record.spec: record.value
        for record in records
        if record.metric == "latency_ms_median"
        and (record.machine, record.versions) == here
        and is_of_setting(record.scope, wanted)
        and rough == bool({UNGATED, UNRESOLVED} & set(record.scope.split()))
    }


def point_latencies(points: Sequence[Point], records: Sequence[Record], wanted: str) -> dict[str, float]:
    """Return point name -> median milliseconds, with a warning where only doubtful figures are known.

    Args:
        points: Operating points; each has been measured.
        records: All Records.
        wanted: The setting.
    """
    sound = known_latencies(records, wanted)
    found = known_latencies(records, wanted, rough=True) | sound
    doubtful = [point.name for point in points if point.spec.text not in sound]
    if doubtful:
        log.warning(
            "latencies of %s are unresolved: this machine was too busy to tell (%s). When it is quiet, run "
            "'concertina measure FILE --latency --save', or family.measure_latency()",
            ", ".join(doubtful),
            wanted,
        )
    return {point.name: found[point.spec.text] for point in points}


def latencies_here(family: Timed, batch: int, threads: int, tried: set[str]) -> dict[str, float]:
    """Return point name -> median milliseconds on this machine, measured where no sound Record has it.

    Args:
        family: The family.
        batch: Inputs in one call.
        threads: Threads of the call.
        tried: Settings that have been measured here once; more are added.
    """
    wanted, points = setting(batch, threads), family.points
    known = known_latencies(family.records, wanted)
    if wanted in tried:
        known |= known_latencies(family.records, wanted, rough=True)
    if any(point.spec.text not in known for point in points):
        log.warning("measuring the latency of %d points on this machine (%s)", len(points), wanted)
        family.measure_latency(batch=batch, threads=threads)
        tried.add(wanted)
    return point_latencies(points, family.records, wanted)
