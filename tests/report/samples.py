"""Families made of numbers, for tests of reports."""

from __future__ import annotations

from collections.abc import Sequence

from concertina.report import ReportData
from concertina.types import Block, Group, Point, Record, SubnetSpec

MACHINE = "Some CPU; 2 cores; x86_64; Linux"
WHOLE_MACS, WHOLE_PARAMS = 1_000_000, 80_000
HOSTILE = (
    "<script>alert(1)</script>",
    "</title></style></svg><img src=x onerror=alert(2)>",
    '" onmouseover="alert(3)" x="',
    "{{ 7 * 7 }}{% raw %}",
    "\u202eexe.png\x00\x1b[31m\ud800\uffff",
    "a|b`c*d_e[f](javascript:alert(4))",
    "x" * 5000,
    "",
)


def spec(place: int) -> SubnetSpec:
    return SubnetSpec.of({"width:a": place + 1})


def point(place: int, share: float, name: str = "") -> Point:
    macs, params = round(share * WHOLE_MACS), round(share * WHOLE_PARAMS)
    return Point(name or f"p{100 * share:g}", spec(place), place, macs, params, 4 * params, share)


def accuracy(place: int, value: float, **more) -> Record:
    settings = {"data": "d1"} | more
    return Record(spec(place).text, "accuracy", value, "share", 500, value - 0.02, min(1, value + 0.01), **settings)


def recall(place: int, name: str, value: float) -> Record:
    return Record(spec(place).text, "recall", value, "share", 50, value / 2, 1.0, scope=name, data="d1")


def latency(place: int, median: float, scope: str = "batch=1 threads=1", machine: str = MACHINE) -> list[Record]:
    where = {"scope": scope, "machine": machine, "versions": "concertina 0; torch 2; python 3"}
    text = spec(place).text
    return [
        Record(text, "latency_ms_median", median, "ms", 30, 0.98 * median, 1.02 * median, **where),
        Record(text, "latency_ms_p95", 1.5 * median, "ms", 30, **where),
    ]


def family(shares: Sequence[float] = (0.1, 0.5, 1.0), classes: Sequence[str] = ("cat", "dog"), **more) -> ReportData:
    """Return a family whose accuracy, recalls and latency rise with size."""
    points = [point(place, share) for place, share in enumerate(shares)]
    records = []
    for place, share in enumerate(shares):
        records += [accuracy(place, 0.8 + 0.15 * share), *latency(place, 1 + 3 * share)]
        records += [recall(place, name, 0.7 + 0.2 * share - 0.001 * number) for number, name in enumerate(classes)]
    fields = {"title": "Family", "points": points, "records": records, "class_names": tuple(classes)}
    return ReportData(**{**fields, **more})


def hostile() -> ReportData:
    """Return a family in which everything that comes with a file is an attack."""
    points = [point(place, (place + 1) / len(HOSTILE), name or "-") for place, name in enumerate(HOSTILE)]
    records = [accuracy(place, 0.9, data="d1", versions=HOSTILE[0], machine=HOSTILE[1]) for place in range(len(points))]
    records += [recall(place, name, 0.5) for place in range(len(points)) for name in HOSTILE if name]
    records += [record for place in range(len(points)) for record in latency(place, 2.0, HOSTILE[0], HOSTILE[1])]
    return ReportData(
        HOSTILE[1],
        points,
        records,
        baselines={name: [(0.5, 0.4), (1.0, 0.9)] for name in HOSTILE},
        class_names=HOSTILE,
        provenance={name: name for name in HOSTILE} | {"licence": HOSTILE[1]},
        groups=[Group(name, 8, (), rigid=name) for name in HOSTILE],
        blocks=[Block(name, ()) for name in HOSTILE],
        modules=dict.fromkeys(HOSTILE, 8),
    )
