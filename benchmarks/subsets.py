"""A growth order of the classes' own against the general one with its answers masked, at equal MACs and equal tuning.

Run: python benchmarks/subsets.py        (about half an hour on one quiet core; killed, it goes on where it stopped)

Ten random subsets each of 2, 3 and 5 classes of CIFAR-10, two families of ResNet-20: the committed one, trained at its
points, and one made of the same network without training. Points are at 50%, 25% and 10% of the MACs (12.5% where that
is the smallest there is). Each arm gets the same data of the classes: statistics alone, or a short training. Judged on
`part=calibration` of the test file, because the tool's default follows from it. What is measured is kept in --out.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cifar import HERE, RUNS, artifact, opened, the_core

import concertina as ct
from concertina.family import Family
from concertina.family.class_choice import AS_IT_WAS, GENERAL, OWN, Lessons, adapt, choice, correctness
from concertina.family.class_order import in_own_order
from concertina.family.class_scores import rate_classes
from concertina.family.outputs import task_for
from concertina.family.specialized import check_class_options
from concertina.family.subset import family_for
from concertina.load.data import ArrayData
from concertina.measure.quality import paired_difference
from concertina.measure.runs import new_run, write_run
from concertina.nest import Supernet
from concertina.types import Core, Record

SIZES, COUNT = (2, 3, 5), 10
STARTS = {"trained": ("p12.5", "p25", "p50"), "untrained": ("p10", "p25", "p50")}
TUNING = {"statistics": (0.0, 512, 32), "training": (1.0, 320, 32)}
"""How an arm is adapted -> epochs, images of the classes, and how many of them a step takes."""
HESSIAN, RELEVANCE, ALL = "own order by hessian", "own order by relevance", "order of all classes by relevance"
ARMS = {
    ("trained", "statistics"): (AS_IT_WAS, GENERAL, HESSIAN),
    ("trained", "training"): (GENERAL, HESSIAN),
    ("untrained", "statistics"): (AS_IT_WAS, GENERAL, HESSIAN, RELEVANCE, ALL),
    ("untrained", "training"): (GENERAL, HESSIAN, RELEVANCE),
}
"""What is compared; the order of all classes tells what a criterion does by itself, without the choice of classes."""
BY = {HESSIAN: "hessian", RELEVANCE: "relevance", ALL: "relevance"}
"""Arm -> the criterion of its scores by class."""
TOOL = {"trained": HESSIAN, "untrained": RELEVANCE}
"""The own order among which and the general ones the tool's rule is tried."""
POOL, HELD = 6000, 100
"""Training images drawn from, and held-out images of each class."""
T95 = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Two-sided 95% points of Student's t, by degrees of freedom."""
Right = dict[str, torch.Tensor]
"""Point -> whether it is right on each held-out image."""
Rows = dict[str, dict[str, Right]]
"""Tuning -> arm -> what it is right about, for one subset."""


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the random subsets: for each size as many, none twice."""
    generator = torch.Generator().manual_seed(0)
    found: list[tuple[str, ...]] = []
    for size in SIZES:
        made: list[tuple[str, ...]] = []
        while len(made) < COUNT:
            drawn = tuple(names[i] for i in sorted(torch.randperm(len(names), generator=generator)[:size].tolist()))
            made += [drawn] if drawn not in made else []
        found += made
    return found


def the_family(start: str, core: Core, data: ArrayData, out: Path) -> tuple[Family, dict[str, Any]]:
    """Return a family and its scores by class, one for each criterion that the arms use."""
    scores = {}
    for criterion in dict.fromkeys(BY[arm] for arm in ARMS[start, "statistics"] if arm in BY):
        path = out / f"{start}-{criterion}.concertina"
        if not path.exists():
            family = ct.open(artifact("resnet20")) if start == "trained" else untrained(core, data, out)
            found = rate_classes(
                family.core, family.supernet, family.task, data.subset(range(2000)), criterion=criterion, seed=0
            )
            family.evidence = replace(family.evidence, class_scores=found)
            family.save(path)
        family = ct.open(path)
        scores[criterion] = family.class_scores
    return family, scores


def untrained(core: Core, data: ArrayData, out: Path) -> Family:
    path = out / "untrained.concertina"
    if not path.exists():
        settings: dict[str, Any] = {"criterion": "hessian", "augment": "flip-crop", "epochs": 0}
        ct.fit(core, data.subset(range(2048)), points=(0.1, 0.25, 0.5), **settings).save(path)
    return ct.open(path)


def right_of(
    start: str,
    scored: tuple[Family, dict[str, Any]],
    classes: tuple[str, ...],
    data: ArrayData,
    held: ArrayData,
    tuned: tuple[str, str],
) -> Right:
    """Return what one arm of one subset is right about, adapted in one way."""
    (family, scores), (tuning, arm) = scored, tuned
    epochs, samples, batch_size = TUNING[tuning]
    cut, facts = family_for(family, classes, other=False)
    for name in [name for name in cut.points if name not in STARTS[start]]:
        del cut.points[name], cut.private[name]
    core = replace(family.core, **facts)
    own, judged = data.for_classes(classes), held.for_classes(classes)
    few = torch.cat([(judged.labels == label).nonzero()[:HELD, 0] for label in range(len(classes))])
    settings = check_class_options({"epochs": epochs, "batch_size": batch_size, "learning_rate": 0.02}, has_data=True)
    lessons = Lessons(task_for(core, cut.space), own.subset(range(samples)), judged.subset(few), settings)
    supernet: Supernet = cut
    if arm in BY:
        names = family.core.class_names if arm == ALL else classes
        supernet = in_own_order(core, cut, scores[BY[arm]].of(names))
    if arm != AS_IT_WAS:
        adapt(core, supernet, lessons)
    return correctness(core, supernet, lessons)


def bits(rows: torch.Tensor) -> str:
    """Return a row of booleans as a text of 0 and 1.

    Example:
        >>> bits(torch.tensor([True, False]))
        '10'
    """
    return "".join(map(str, rows.int().tolist()))


def kept(path: Path, make: Callable[[], Right]) -> Right:
    """Return what `make` gives, from the file where an earlier run kept it."""
    if not path.exists():
        found = {point: bits(rows) for point, rows in make().items()}
        half = path.with_suffix(".half")
        half.write_text(json.dumps(found), encoding="utf-8")
        half.replace(path)
    texts = json.loads(path.read_text(encoding="utf-8"))
    return {point: torch.tensor([int(bit) for bit in text]) > 0 for point, text in texts.items()}


def compared(start: str, size: int, rows: list[Rows]) -> list[Record]:
    """Return the paired differences of one size: of each subset, and their mean with its interval over subsets."""
    records = []
    for tuning, arms in ((tuning, arms) for (which, tuning), arms in ARMS.items() if which == start):
        for one, other in [
            *((arm, GENERAL) for arm in arms if arm != GENERAL),
            *((RELEVANCE, ALL) for a in arms if a == ALL),
        ]:
            both = [row[tuning] for row in rows if {one, other} <= set(row.get(tuning, {}))]
            for point in STARTS[start] if len(both) > 1 else ():
                scope = f"{start}, {size} classes, {tuning}, {point}: {one}"
                records += differences(scope, f"minus {other}", [(row[one][point], row[other][point]) for row in both])
    return records


def differences(scope: str, metric: str, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> list[Record]:
    """Return the paired difference of each subset, their mean with its interval, and the accuracy of the second arm."""
    found = [paired_difference(one, other) for one, other in pairs]
    each = [
        Record(f"subset {number}", metric, value, "share", len(pairs[number][0]), low, high, scope=scope)
        for number, (value, low, high) in enumerate(found)
    ]
    values, n = [value for value, _, _ in found], len(found)
    mean, half = statistics.fmean(values), half_width(values)
    accuracy = statistics.fmean(float(other.float().mean()) for _, other in pairs)
    return [
        *each,
        Record("all subsets", metric, mean, "share", n, mean - half, mean + half, scope=scope),
        Record("all subsets", f"accuracy of {metric.removeprefix('minus ')}", accuracy, "share", n, scope=scope),
    ]


def half_width(values: list[float]) -> float:
    """Return half of the 95% interval of a mean over subsets."""
    return T95[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))


def chosen(start: str, size: int, rows: list[Rows]) -> list[Record]:
    """Return what the tool's choice comes to: made on every other image, judged on the rest."""
    records = []
    for tuning in TUNING:
        gains, own = [], 0
        for row in (row for row in rows if {TOOL[start], GENERAL} <= set(row.get(tuning, {}))):
            arms = {
                AS_IT_WAS: row["statistics"][AS_IT_WAS],
                GENERAL: row[tuning][GENERAL],
                OWN: row[tuning][TOOL[start]],
            }
            halves = [{a: {p: r[i::2] for p, r in points.items()} for a, points in arms.items()} for i in (0, 1)]
            name = choice(halves[0]).name
            own += name == OWN
            one, other = (halves[1][arm] for arm in (name, AS_IT_WAS))
            gains.append(statistics.fmean(float((one[p].float() - other[p].float()).mean()) for p in STARTS[start]))
        if len(gains) > 1:
            mean, half = statistics.fmean(gains), half_width(gains)
            scope = f"{start}, {size} classes, {tuning}"
            figures = (mean, "share", len(gains), mean - half, mean + half)
            records.append(Record("all subsets", "chosen minus as it was", *figures, scope=scope))
            records.append(Record("all subsets", "own order chosen", float(own), "subsets", len(gains), scope=scope))
    return records


def shown(record: Record) -> str:
    """Return a figure as a line; shares in %."""
    factor = 1 if record.unit == "subsets" else 100
    interval = "" if record.low is None else f" [{factor * record.low:+.1f}, {factor * (record.high or 0):+.1f}]"
    return f"{record.scope}  {record.metric} {factor * record.value:+.1f}{interval} ({record.n})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, every in (("starts", STARTS), ("tunings", TUNING)):
        parser.add_argument(f"--{name}", default=",".join(every))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--arms", default="", help="Arms to measure, joined by commas; all unless said.")
    parser.add_argument("--out", type=Path, default=RUNS / "subsets", help="Folder of what is measured.")
    parser.add_argument("--only-kept", action="store_true", help="Sum up what earlier runs kept, measure nothing more.")
    asked = parser.parse_args()
    drawn = subsets(("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"))
    if not asked.only_kept:
        measure(asked, drawn)
    records: list[Record] = []
    for start, size in ((start, size) for start in STARTS for size in SIZES):
        rows = [read(asked.out, start, size, number) for number in range(COUNT)]
        records += compared(start, size, rows) + chosen(start, size, rows)
    print("\n".join(map(shown, (record for record in records if record.spec == "all subsets"))))
    settings = {"subsets": "; ".join(", ".join(each) for each in drawn), "held-out images a class": str(HELD)}
    print(write_run(HERE / "results", new_run("subsets-resnet20", records, seed=0, settings=settings)))


def measure(asked: argparse.Namespace, drawn: list[tuple[str, ...]]) -> None:
    """Measure what was asked for and no earlier run kept."""
    asked.out.mkdir(parents=True, exist_ok=True)
    core = the_core("resnet20")
    whole, held = opened(core, "cifar10-train.parquet"), opened(core, "cifar10-test.npz@part=calibration")
    data = whole.subset(torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))[:POOL])
    for start in asked.starts.split(","):
        scored = the_family(start, core, data, asked.out)
        for size, tuning in (
            (int(size), tuning) for size in asked.sizes.split(",") for tuning in asked.tunings.split(",")
        ):
            for number, classes in enumerate(c for c in drawn if len(c) == size):
                began = time.monotonic()
                for arm in ARMS[start, tuning]:
                    if not asked.arms or arm in asked.arms.split(","):
                        make = partial(right_of, start, scored, classes, data, held, (tuning, arm))
                        kept(place(asked.out, start, size, number, tuning, arm), make)
                print(f"{start} {tuning} {', '.join(classes)}  {time.monotonic() - began:.0f} s", flush=True)


def place(out: Path, start: str, size: int, number: int, tuning: str, arm: str) -> Path:
    return out / f"{start}-{size}-{number}-{tuning}-{arm.replace(' ', '-')}.json"


def read(out: Path, start: str, size: int, number: int) -> Rows:
    """Return what is kept of one subset."""
    found: Rows = {}
    for tuning, arm in ((t, a) for t in TUNING for a in ARMS[start, t]):
        path = place(out, start, size, number, tuning, arm)
        if path.exists():
            found.setdefault(tuning, {})[arm] = kept(path, dict)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
