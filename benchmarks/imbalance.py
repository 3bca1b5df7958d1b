"""Half of the MACs on imbalanced sets: what each criterion does to the rare classes, with balanced samples and without.

Run: python benchmarks/imbalance.py cells lesions            (half an hour on one quiet core)
     python benchmarks/imbalance.py cells --test             (the same families on the test part, once, at the end)

Families of one point at half of the MACs, without and with a short training, by each criterion; "balanced" has scores
and statistics from as many samples of each class, and in training weights that balance the classes. Told is the recall
of the rare classes (all but the most frequent) together and of each, less the core's, image by image, with a 95%
interval. Families are kept in --out; killed, the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from cifar import HERE, RUNS
from imbalanced import CASES, Case, images, recalls
from torch import Tensor

import concertina as ct
from concertina.load.data import TensorData
from concertina.measure.quality import paired_difference
from concertina.measure.runs import new_run, write_run
from concertina.types import Record

VARIANTS: dict[str, dict[str, Any]] = {
    "beta-rank balanced": {"criterion": "beta-rank", "balanced": True},
    "beta-rank": {"criterion": "beta-rank"},
    "taylor balanced": {"criterion": "taylor", "balanced": True},
    "taylor": {"criterion": "taylor"},
    "magnitude-l2": {"criterion": "magnitude-l2"},
    "hessian balanced": {"criterion": "hessian", "balanced": True},
}
FIT: dict[str, Any] = {"points": (0.5,), "batch_size": 64, "learning_rate": 0.01, "full_from_core": 1.0}


def family_of(case: Case, variant: str, epochs: float, seed: int, out: Path) -> ct.Family:
    """Return the family of a variant; it is fitted first where no earlier run kept it."""
    path = out / f"{case.name}-{variant.replace(' ', '-')}-{epochs:g}-epochs-seed-{seed}.concertina"
    if not path.exists():
        options = FIT | VARIANTS[variant] | {"epochs": epochs, "seed": seed, "augment": case.augment}
        if options.get("balanced") and epochs:
            options["class_weights"] = "balanced"
        out.mkdir(parents=True, exist_ok=True)
        ct.fit(case.core, case.train, order="criterion", **options).save(path)
    return ct.open(path, module=case.core.module)


def compared(case: Case, family: ct.Family, data: TensorData, reference: tuple[Tensor, Tensor]) -> list[Record]:
    """Return recall less the core's at half of the MACs: of each rare class, and of all of them together."""
    chances, labels = recalls(family.view("p50"), data)
    ours, theirs = chances.argmax(1) == labels, reference[0].argmax(1) == labels
    common = int(case.train.tensors[-1].bincount().argmax())
    parts = {name: labels == k for k, name in enumerate(case.core.class_names) if k != common}
    parts = {"all rare classes": labels != common, "all classes": labels >= 0, **parts}
    found = []
    for name, there in parts.items():
        difference, low, high = paired_difference(ours[there], theirs[there])
        found.append(Record("p50", "recall_minus_core", difference, "share", int(there.sum()), low, high, scope=name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", choices=("cells", "lesions"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, nargs="+", default=[0.0, 2.0])
    parser.add_argument("--test", action="store_true", help="measure on the test part")
    parser.add_argument("--out", type=Path, default=RUNS / "imbalance")
    asked = parser.parse_args()
    files, records = {"cells": "bccd-cells.npz", "lesions": "ham10000-8x8.npz"}, []
    for name in asked.cases:
        case = CASES[name]()
        test = images(files[name], "test", case.core.preprocess, case.core.class_names) if asked.test else None
        data = test or case.held
        reference = recalls(case.core.module, data)
        for epochs in asked.epochs:
            for variant in VARIANTS:
                for seed in range(asked.seeds if epochs else 1):
                    family = family_of(case, variant, epochs, seed, asked.out)
                    found = compared(case, family, data, reference)
                    what = f"{name}, {variant}, {epochs:g} epochs"
                    print(f"{what}, seed {seed}: " + ", ".join(f"{r.scope} {r.value:+.3f}" for r in found), flush=True)
                    records += [
                        Record(**{**vars(r), "scope": f"{what}: {r.scope}", "seed": seed, "data": data.fingerprint})
                        for r in found
                    ]
    settings = {"cases": asked.cases, "variants": VARIANTS, "fit": FIT, "part": "test" if asked.test else "held"}
    print(write_run(HERE / "results", new_run("imbalance", records, settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
