"""Compression that protects one class against compression that is blind to classes, within equal shares of the MACs.

Run: python benchmarks/protect.py cells lesions            (half an hour on one quiet core)
     python benchmarks/protect.py cifar10 --seeds 1        (an hour)

For each class and seed a family is fitted with more weight on the class, in scores and in distillation; one family a
seed is fitted without. Both have equal samples, epochs, criteria and points. Points lie where the blind family has 50,
10 and 1% of the core's parameters; each is the largest subnet within its share of the MACs along its family's own
order, which where steps are coarse are not the same MACs: both are told. A class is found where its probability reaches
a threshold, and both families may choose theirs freely: they are compared at equal false-positive rates, that of the
core's own decisions. Told are false negatives, ROC AUC and MACs, for every weight tried. Judged on data that decisions
rest on, never on a test part.
What is measured is kept in --out; killed, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cifar import HERE, RUNS
from imbalanced import CASES, Case, recalls
from torch import Tensor

import concertina as ct
from concertina.measure.runs import new_run, write_run
from concertina.types import Record

PARAMS = (0.5, 0.1, 0.01)
FIT: dict[str, dict[str, Any]] = {
    "cifar10": {"epochs": 1.0, "learning_rate": 0.05, "batch_size": 64},
    "cells": {"epochs": 2.0, "learning_rate": 0.02, "batch_size": 64},
    "lesions": {"epochs": 1.5, "learning_rate": 0.02, "batch_size": 64},
}


def shares_of(case: Case) -> tuple[float, ...]:
    """Return the shares of the MACs at which a family that is blind to classes has `PARAMS` of the parameters."""
    supernet = ct.prepare(case.core, case.train, points=(0.5,), criterion="hessian", order="criterion").supernet
    costs, whole = supernet.costs, supernet.space.full
    specs = [supernet.order.spec(position) for position in range(len(supernet.order))]
    params = [costs.params(spec) / costs.params(whole) for spec in specs]
    near = {min(range(len(specs)), key=lambda i, p=wanted: abs(params[i] - p)) for wanted in PARAMS}
    return tuple(sorted(costs.macs(specs[i]) / costs.macs(whole) + 1e-6 for i in near))


def fitted(case: Case, shares: tuple[float, ...], weights: dict[str, float], seed: int) -> ct.Family:
    """Return a family of a case; `weights` empty for one that is blind to classes."""
    return ct.fit(
        case.core,
        case.train,
        points=shares,
        criterion="hessian",
        seed=seed,
        full_from_core=1.0,
        augment=case.augment,
        class_weights=weights,
        **FIT[case.name],
    )


def miss_rate(scores: Tensor, own: Tensor, false_positives: float) -> float:
    """Return the share of `own` samples missed where a threshold lets so many of the others pass."""
    others = scores[~own].sort(descending=True).values
    threshold = others[min(len(others) - 1, int(false_positives * len(others)))]
    return float((scores[own] <= threshold).double().mean())


def area(scores: Tensor, own: Tensor) -> float:
    """Return the area under the ROC curve."""
    ranks = scores.argsort().argsort().double() + 1
    positives, negatives = int(own.sum()), int((~own).sum())
    return float((ranks[own].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def judged(case: Case, family: ct.Family, classes: list[int], scope: str) -> Iterator[Record]:
    """Yield figures of classes at every point but the largest, at the false-positive rate of the core's decisions."""
    chances, labels = recalls(case.core.module, case.held)
    for point in [*family.points][:-1]:
        own, _ = recalls(family.view(point.name), case.held)
        for k in classes:
            there, name = labels == k, case.core.class_names[k]
            allowed = float((chances.argmax(1)[~there] == k).double().mean())
            for metric, value in (
                ("miss_rate", miss_rate(own[:, k], there, allowed)),
                ("miss_rate_core", float((chances.argmax(1)[there] != k).double().mean())),
                ("auc", area(own[:, k], there)),
                ("params_share", point.params / family.points[-1].params),
                ("macs_share", point.macs / family.points[-1].macs),
            ):
                yield Record(point.name, metric, value, "share", int(there.sum()), scope=f"{scope} {name}")


def kept(path: Path, make: Callable[[], list[Record]]) -> list[Record]:
    """Return records kept in a file; they are made first where there is none."""
    if not path.exists():
        found = [asdict(record) for record in make()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".half").write_text(json.dumps(found), encoding="utf-8")
        path.with_suffix(".half").replace(path)
        print(path.stem, flush=True)
    return [Record(**fields) for fields in json.loads(path.read_text(encoding="utf-8"))]


def study(case: Case, asked: argparse.Namespace) -> list[Record]:
    """Return all figures of a case: blind, and protecting each class by each weight."""
    shares, names, records = shares_of(case), case.core.class_names, []
    print(case.name, shares, flush=True)
    for seed in range(asked.seeds):
        out = asked.out / f"{case.name}-{len(case.train)}-seed-{seed}"
        jobs: list[tuple[str, str, dict[str, float], list[int]]] = [("blind", "blind", {}, list(range(len(names))))]
        for weight in asked.weights:
            jobs += [(f"{weight:g}-{n}", f"weight {weight:g}", {n: weight}, [k]) for k, n in enumerate(names)]
        for called, scope, weights, classes in jobs:
            make = partial(made, case, shares, weights, seed, classes, scope)
            found = numbered(kept(Path(f"{out}-{called}.json"), make))
            records += [replace(r, seed=seed, scope=f"{case.name} {r.scope}") for r in found]
    return records


def numbered(records: list[Record]) -> list[Record]:
    """Return records with points by their place: what two families call theirs may differ where steps are coarse."""
    places = {name: PARAMS[::-1][i] for i, name in enumerate(dict.fromkeys(r.spec for r in records))}
    return [replace(r, spec=f"{places[r.spec]:.0%} of the parameters") for r in records]


def made(
    case: Case, shares: tuple[float, ...], weights: dict[str, float], seed: int, classes: list[int], scope: str
) -> list[Record]:
    """Return the figures of one family, fitted for it."""
    return list(judged(case, fitted(case, shares, weights, seed), classes, scope))


def summary(records: list[Record]) -> dict[str, Any]:
    """Return per case, weight and point the medians over classes and seeds, against the blind family."""
    by_key = {(r.scope, r.spec, r.metric, r.seed): r.value for r in records}
    groups: dict[str, list[tuple[float, ...]]] = {}
    for (scope, spec, metric, seed), value in by_key.items():
        case, kind, *rest = scope.split(" ")
        if kind != "weight" or metric != "miss_rate":
            continue
        weight, name = rest[0], " ".join(rest[1:])
        blind = f"{case} blind {name}"
        missed = by_key[blind, spec, "miss_rate", seed]
        gained = by_key[scope, spec, "auc", seed] - by_key[blind, spec, "auc", seed]
        groups.setdefault(f"{case}, weight {weight}, {spec}", []).append(
            (missed, value, gained, *(by_key[what, spec, "macs_share", seed] for what in (scope, blind)))
        )
    told = {}
    for what, rows in groups.items():
        changes = [(after - before) / before for before, after, *_ in rows if before]
        told[what] = {
            "macs_share": round(statistics.median(row[3] for row in rows), 4),
            "macs_share_blind": round(statistics.median(row[4] for row in rows), 4),
            "missed_blind": round(statistics.median(row[0] for row in rows), 4),
            "missed_protected": round(statistics.median(row[1] for row in rows), 4),
            "median_change_of_false_negatives": round(statistics.median(changes), 3) if changes else 0.0,
            "fewer_in": f"{sum(after < before for before, after, *_ in rows)} of {len(rows)}",
            "median_auc_gain": round(statistics.median(row[2] for row in rows), 4),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", choices=list(CASES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", type=float, nargs="+", default=[4.0])
    parser.add_argument("--samples", type=int, default=12800, help="Training images of CIFAR-10.")
    parser.add_argument("--out", type=Path, default=RUNS / "protect", help="Folder of what is measured.")
    asked = parser.parse_args()
    records = []
    for name in asked.cases:
        case = CASES[name](asked.samples) if name == "cifar10" else CASES[name]()
        records += study(case, asked)
    told = summary(records)
    for what, figures in told.items():
        print(what, figures)
    settings = {"cases": asked.cases, "weights": asked.weights, "summary": told, "fit": FIT}
    print(write_run(HERE / "results", new_run("protect", records, settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
