"""A growth order of the classes' own against the general one with its answers masked, at equal MACs and equal tuning.

Run: python benchmarks/subsets.py        (about half an hour on one quiet core; killed, it goes on where it stopped)

Ten random subsets each of 2, 3 and 5 classes of CIFAR-10, two families of ResNet-20: the committed one, trained at its
points, and one made of the same network without training. Points are at 50%, 25% and 10% of the MACs (12.5% where that
is the smallest there is). Each arm gets the same data of the classes: statistics alone, or a short training. Judged on
`part=calibration` of the test file, because the tool's default follows from it. What is measured is kept in --out.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
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
from concertina.types import Core, Record, Scores

SIZES, COUNT = (2, 3, 5), 10
STARTS = {"trained": ("p12.5", "p25", "p50"), "untrained": ("p10", "p25", "p50")}
BY = {OWN: "hessian", "own order by relevance": "relevance"}
"""Arm -> the criterion of its scores by class."""
TUNING = {"statistics": (0.0, 512, 32), "training": (1.0, 320, 32), "longer training": (1.0, 1152, 32)}
"""How an arm is adapted -> epochs, images of the classes, and how many of them a step takes."""
USUAL, LONGER = ("statistics", "training"), ("longer training",)
LONGER_FOR = {("untrained", 2)}
"""Family and size of the subsets for which the longer training is run as well."""
POOL, HELD = 6000, 100
"""Training images drawn from, and held-out images of each class."""
T9 = 2.262
"""Two-sided 95% point of Student's t for ten subsets."""
Right = dict[str, dict[str, torch.Tensor]]
"""Arm -> point -> whether it is right on each held-out image."""


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
    for criterion in sorted(set(BY.values())) if start == "untrained" else ["hessian"]:
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
    start: str, scored: tuple[Family, dict[str, Any]], classes: tuple[str, ...], data: ArrayData, held: ArrayData
) -> Callable[[tuple[str, ...]], dict[str, Right]]:
    """Return what tells, for each way of tuning, what all arms of one subset are right about."""
    return lambda tunings: {tuning: _right(start, scored, classes, data, held, tuning) for tuning in tunings}


def _right(
    start: str,
    scored: tuple[Family, dict[str, Any]],
    classes: tuple[str, ...],
    data: ArrayData,
    held: ArrayData,
    tuning: str,
) -> Right:
    (family, scores), (epochs, samples, batch_size) = scored, TUNING[tuning]
    cut, facts = family_for(family, classes, other=False)
    for name in [name for name in cut.points if name not in STARTS[start]]:
        del cut.points[name], cut.private[name]
    core = replace(family.core, **facts)
    own, judged = data.for_classes(classes), held.for_classes(classes)
    few = torch.cat([(judged.labels == label).nonzero()[:HELD, 0] for label in range(len(classes))])
    settings = check_class_options({"epochs": epochs, "batch_size": batch_size, "learning_rate": 0.02}, has_data=True)
    lessons = Lessons(task_for(core, cut.space), own.subset(range(samples)), judged.subset(few), settings)
    arms: dict[str, Supernet] = {AS_IT_WAS: cut} if not epochs else {}
    arms[GENERAL] = copy.deepcopy(cut)
    for arm, criterion in BY.items():
        if criterion in scores and (arm == OWN or not epochs):
            arms[arm] = in_own_order(core, cut, of_classes(scores[criterion], classes))
    for arm, supernet in arms.items():
        if arm != AS_IT_WAS:
            adapt(core, supernet, lessons)
    return {arm: correctness(core, supernet, lessons) for arm, supernet in arms.items()}


def of_classes(scores: Any, classes: tuple[str, ...]) -> Scores:
    made: Scores = scores.of(classes)
    return made


def bits(rows: torch.Tensor) -> str:
    """Return a row of booleans as a text of 0 and 1.

    Example:
        >>> bits(torch.tensor([True, False]))
        '10'
    """
    return "".join(map(str, rows.int().tolist()))


def kept(path: Path, make: Callable[[tuple[str, ...]], dict[str, Right]], tunings: tuple[str, ...]) -> dict[str, Right]:
    """Return what `make` gives, from the file where an earlier run kept it."""
    if not path.exists():
        found = {
            tuning: {arm: {p: bits(rows) for p, rows in points.items()} for arm, points in arms.items()}
            for tuning, arms in make(tunings).items()
        }
        half = path.with_suffix(".half")
        half.write_text(json.dumps(found), encoding="utf-8")
        half.replace(path)
    raw = json.loads(path.read_text(encoding="utf-8"))
    return {
        tuning: {
            arm: {point: torch.tensor([int(bit) for bit in text]) > 0 for point, text in points.items()}
            for arm, points in arms.items()
        }
        for tuning, arms in raw.items()
    }


def compared(start: str, size: int, rows: list[dict[str, Right]]) -> list[Record]:
    """Return the paired differences of one size: of each subset, and their mean with its interval over subsets."""
    records = []
    for tuning in rows[0]:
        for arm in rows[0][tuning]:
            if arm == GENERAL:
                continue
            for point in STARTS[start]:
                scope = f"{start}, {size} classes, {tuning}, {point}: {arm}"
                pairs = [(row[tuning][arm][point], row[tuning][GENERAL][point]) for row in rows]
                differences = []
                for number, (one, other) in enumerate(pairs):
                    value, low, high = paired_difference(one, other)
                    differences.append(value)
                    each = (value, "share", len(one), low, high)
                    records.append(Record(f"subset {number}", "minus_general", *each, scope=scope))
                records += means(scope, differences, pairs)
    return records


def means(scope: str, differences: list[float], pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> list[Record]:
    mean, half = statistics.fmean(differences), T9 * statistics.stdev(differences) / math.sqrt(len(differences))
    accuracy = statistics.fmean(float(other.float().mean()) for _, other in pairs)
    count = len(differences)
    return [
        Record("all subsets", "minus_general", mean, "share", count, mean - half, mean + half, scope=scope),
        Record("all subsets", "accuracy_of_general", accuracy, "share", count, scope=scope),
    ]


def chosen(start: str, size: int, rows: list[dict[str, Right]]) -> list[Record]:
    """Return what the tool's choice comes to: made on every other image, judged on the rest."""
    records = []
    for tuning in rows[0]:
        gains, own = [], 0
        for row in rows:
            as_it_was = row["statistics"][AS_IT_WAS]
            arms = {AS_IT_WAS: as_it_was, GENERAL: row[tuning][GENERAL], OWN: row[tuning][OWN]}
            halves = [{a: {p: r[i::2] for p, r in points.items()} for a, points in arms.items()} for i in (0, 1)]
            name = choice(halves[0]).name
            own += name == OWN
            gains.append(
                statistics.fmean(
                    float((halves[1][name][p].float() - halves[1][GENERAL][p].float()).mean()) for p in STARTS[start]
                )
            )
        mean, half = statistics.fmean(gains), T9 * statistics.stdev(gains) / math.sqrt(len(gains))
        scope = f"{start}, {size} classes, {tuning}"
        figures = (mean, "share", len(gains), mean - half, mean + half)
        records.append(Record("all subsets", "chosen_minus_general", *figures, scope=scope))
        records.append(Record("all subsets", "own_order_chosen", float(own), "subsets", len(gains), scope=scope))
    return records


def shown(record: Record) -> str:
    """Return a figure as a line; shares in %."""
    factor = 1 if record.unit == "subsets" else 100
    interval = "" if record.low is None else f" [{factor * record.low:+.1f}, {factor * (record.high or 0):+.1f}]"
    return f"{record.scope}  {record.metric} {factor * record.value:+.1f}{interval}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", default=",".join(STARTS))
    parser.add_argument("--out", type=Path, default=RUNS / "subsets", help="Folder of what is measured.")
    parser.add_argument("--longer", action="store_true", help="Also train longer, for a part of the subsets.")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    core = the_core("resnet20")
    whole, held = opened(core, "cifar10-train.parquet"), opened(core, "cifar10-test.npz@part=calibration")
    data = whole.subset(torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))[:POOL])
    starts, drawn = asked.starts.split(","), subsets(core.class_names)
    scored = {start: the_family(start, core, data, asked.out) for start in starts}
    table: dict[tuple[str, int], list[dict[str, Right]]] = {}
    for tunings, end in ((USUAL, ""), (LONGER, "-longer")):
        for start, size in ((start, size) for start in starts for size in SIZES):
            if end and ((start, size) not in LONGER_FOR or not asked.longer):
                continue
            for number, classes in enumerate(c for c in drawn if len(c) == size):
                began = time.monotonic()
                path = asked.out / f"{start}-{size}-{number}{end}.json"
                row = kept(path, right_of(start, scored[start], classes, data, held), tunings)
                rows = table.setdefault((start, size), [])
                if end:
                    rows[number] |= row
                else:
                    rows.append(row)
                print(f"{start} {', '.join(classes)}{end}  {time.monotonic() - began:.0f} s", flush=True)
    records = [
        r for (start, size), rows in table.items() for r in compared(start, size, rows) + chosen(start, size, rows)
    ]
    print("\n".join(map(shown, (record for record in records if record.spec == "all subsets"))))
    settings = {"subsets": "; ".join(", ".join(each) for each in subsets(core.class_names)), "starts": asked.starts}
    print(write_run(HERE / "results", new_run("subsets-resnet20", records, seed=0, settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
