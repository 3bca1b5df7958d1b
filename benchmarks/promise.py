"""Promised bounds on false negatives, on real data: found on one part of it, checked once on another.

Run: python benchmarks/promise.py     (the committed ResNet-20; some minutes on one quiet core)

Every class of CIFAR-10 is protected by itself, at every point, at each of `BOUNDS` and by each method: thresholds come
from `part=calibration` (250 images a class), and what they do is measured on `part=test` (550), once. Nothing is chosen
on `part=test`. One call asks for one class and one bound at all points, so a binomial promise is corrected for these.
A promise is about the rate on all data like that given; the rate on 550 images lies above or below it by chance. So
besides the rates measured it is told which are above their bound beyond that chance (exact, one-sided, 5%).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from cifar import HERE, artifact, opened

import concertina as ct
from concertina.audits import GUARANTEES
from concertina.family.held_out import answered, held_out
from concertina.family.promises import promise_at
from concertina.load.data import TensorData
from concertina.measure.answers import Answers
from concertina.measure.intervals import share_at_most
from concertina.measure.promise import PREFIX, Promise, rates_at
from concertina.measure.runs import new_run, write_run
from concertina.types import Record

BOUNDS = (0.02, 0.05, 0.1)
NETWORK = "resnet20"


def main() -> None:
    torch.set_num_threads(1)
    family = ct.open(artifact(NETWORK))
    parts = {name: opened(family.core, f"cifar10-test.npz@part={name}") for name in ("calibration", "test")}
    told = {name: answers_of(family, held_out(family, data)) for name, data in parts.items()}
    records, summary = [], {}
    for method in GUARANTEES.names():
        for bound in BOUNDS:
            promised, checked = promises(family, told["calibration"], method, bound), []
            for promise in promised:
                found = checked_on(told["test"][promise.point], promise)
                checked.append((promise, found))
                records += [labelled(record, promise, method, parts["test"]) for record in found]
            summary[f"{method} {bound:g}"] = summarised(checked) if checked else "too few samples of a class"
            print(f"{method} {bound:g}: {summary[f'{method} {bound:g}']}", flush=True)
    settings = {
        "artifact": artifact(NETWORK).name,
        "bounds": BOUNDS,
        "points": {point.name: point.spec.text for point in family.points},
        "promises asked together": "one class, one bound, all points",
        "summary": summary,
    }
    print(write_run(HERE / "results", new_run(f"promise-{NETWORK}", records, settings=settings)))


def answers_of(family: ct.Family, data: TensorData) -> dict[str, Answers]:
    """Return point name -> answers, so that each point runs once over the data."""
    return dict(zip((p.name for p in family.points), answered(family, data, family.points, ""), strict=True))


def promises(family: ct.Family, told: dict[str, Answers], method: str, bound: float) -> list[Promise]:
    """Return the promises of every class by itself; none where a class has too few samples."""
    guarantee, together = GUARANTEES.get(method)(), len(family.points)
    sizes = next(iter(told.values())).labels.bincount()
    if int(sizes.min()) < guarantee.samples(bound, together):
        return []
    return [
        promise_at(point, told[point.name], (name, bound, 0.0), guarantee, together)
        for name in family.core.class_names
        for point in family.points
    ]


def checked_on(answer: Answers, promise: Promise) -> tuple[Record, Record, Record]:
    """Return the rates at a promised threshold on fresh data."""
    return rates_at(answer, promise.place, promise.threshold)


def labelled(record: Record, promise: Promise, method: str, data: TensorData) -> Record:
    """Return a rate on the test part that says of which promise it is; its point's name stands for the spec."""
    scope = f"{promise.class_name}, bound {promise.bound:g}, {method}, p >= {promise.threshold:.6g}"
    return replace(
        record, spec=promise.point, metric=record.metric.removeprefix(PREFIX), scope=scope, data=data.fingerprint
    )


def summarised(checked: list[tuple[Promise, tuple[Record, Record, Record]]]) -> dict[str, object]:
    """Return how many promises held, and what they cost, over all classes and by point."""
    rows: dict[str, object] = {"all": cost(checked)}
    for name in dict.fromkeys(promise.point for promise, _ in checked):
        rows[name] = cost([one for one in checked if one[0].point == name])
    return rows


def cost(checked: list[tuple[Promise, tuple[Record, Record, Record]]]) -> dict[str, float]:
    missed, alarms, precision = (torch.tensor([found[i].value for _, found in checked]) for i in range(3))
    return {
        "promises": len(checked),
        "measured at or under the bound": sum(found[0].value <= promise.bound for promise, found in checked),
        "above it beyond chance": sum(is_above(found[0], promise.bound) for promise, found in checked),
        "mean false-negative rate": round(float(missed.mean()), 4),
        "largest false-negative rate": round(float(missed.max()), 4),
        "mean false-positive rate": round(float(alarms.mean()), 4),
        "largest false-positive rate": round(float(alarms.max()), 4),
        "mean precision": round(float(precision.mean()), 4),
        "least precision": round(float(precision.min()), 4),
    }


def is_above(missed: Record, bound: float) -> bool:
    """Return whether a rate is above a bound by more than chance: the exact one-sided test at 5%."""
    hits = missed.n - round(missed.value * missed.n)
    return 1 - share_at_most(hits, missed.n, 0.05) > bound


if __name__ == "__main__":
    main()
