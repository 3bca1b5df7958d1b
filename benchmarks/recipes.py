"""Every recipe, and every setting of training that is off by default, on ResNet-20 and CIFAR-10.

Run: python benchmarks/recipes.py                                  (all of them at 4 epochs, two seeds: hours on a CPU)
     python benchmarks/recipes.py --epochs 1 --samples 25600       (what the defaults of the settings rest on)
     python benchmarks/recipes.py --variants sandwich,average-0.99

All variants of a seed start from the same core, growth order and points, and are judged on `part=calibration` of the
test file by accuracy and by churn: how often an answer differs from the core's. What is measured is kept in --out;
killed, the same command goes on with the next variant.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from cifar import HERE, POINTS, RUNS, WHOLE, opened, the_core
from cifar import SETTINGS as FAMILY

import concertina as ct
from concertina.family.finish import calibrate_points
from concertina.family.preparation import Preparation
from concertina.load.data import TensorData, batches
from concertina.measure.quality import churn, evaluate
from concertina.measure.runs import new_run, write_run
from concertina.train import RECIPES, Trainer, TrainSettings, num_steps, train
from concertina.types import Record

SETTINGS: dict[str, dict[str, Any]] = {
    "full-from-core-0": {"full_from_core": 0.0},
    "shrink-share-0.5": {"shrink_share": 0.5},
    "clip-norm-2": {"clip_norm": 2.0},
    "average-0.99": {"average": 0.99},
}
"""Variants of the sandwich: one setting changed each."""


class Seed:
    """All variants of one seed: they share the prepared family, which is made when first needed."""

    def __init__(self, core: ct.Core, data: TensorData, held: TensorData, asked: argparse.Namespace, seed: int) -> None:
        self.core, self.data, self.held, self.asked, self.seed = core, data, held, asked, seed
        self._ready: Preparation | None = None

    def records(self, variant: str) -> list[Record]:
        """Return what a variant came to; it is trained first where no earlier run kept it."""
        asked = self.asked
        path = asked.out / f"{variant}-{asked.epochs:g}-epochs-{len(self.data)}-{asked.criterion}-seed-{self.seed}.json"
        if not path.exists():
            kept = [asdict(record) for record in self._trained(variant)]
            path.parent.mkdir(parents=True, exist_ok=True)
            half = path.with_suffix(".half")
            half.write_text(json.dumps(kept), encoding="utf-8")
            half.replace(path)
        return [Record(**fields) for fields in json.loads(path.read_text(encoding="utf-8"))]

    def _prepared(self) -> Preparation:
        if self._ready is None:
            options = FAMILY | {"criterion": self.asked.criterion, "epochs": self.asked.epochs, "seed": self.seed}
            self._ready = ct.prepare(self.core, self.data, points=POINTS, ignore=WHOLE, **options)
            print(", ".join(f"{point.name} {point.spec.text}" for point in self._ready.supernet.points.values()))
        return self._ready

    def _trained(self, variant: str) -> list[Record]:
        ready, recipe = self._prepared(), variant if variant in RECIPES else "sandwich"
        supernet, task, started = copy.deepcopy(ready.supernet), ready.task, time.monotonic()
        chosen = {name: value for name, value in FAMILY.items() if name in TrainSettings.__dataclass_fields__}
        settings = TrainSettings(epochs=self.asked.epochs, seed=self.seed, **(chosen | SETTINGS.get(variant, {})))
        trainer = Trainer(supernet, task, steps=num_steps(self.data, settings), recipe=recipe, settings=settings)
        train(trainer, ready.train_data, recipe=recipe)
        spent = time.monotonic() - started
        calibrate_points(supernet, task, self.data)
        held = self.held
        reference = evaluate(self.core.module, task, batches(held, 250), spec="core", data=held.fingerprint)
        records = [Record("family", "training_macs", float(trainer.macs_spent), "MACs", scope=variant)]
        for point in supernet.points.values():
            module = supernet.at_point(point.name)
            found = evaluate(module, task, batches(held, 250), spec=point.spec.text, data=held.fingerprint)
            figures = [record for record in found.records if record.metric == "accuracy"]
            predictions = found.rows["prediction"], reference.rows["prediction"]
            figures.append(churn(*predictions, spec=point.spec.text, data=held.fingerprint))
            records += [replace(record, scope=f"{variant} {point.name}") for record in figures]
        shown = (f"{100 * record.value:.1f}" for record in records[1:])
        print(f"{variant} seed {self.seed}  {spent:.0f} s  accuracy, churn: {' '.join(shown)}", flush=True)
        return [replace(record, seed=self.seed) for record in records]


def table(records: list[Record]) -> str:
    """Return a Markdown table: accuracy and churn in %, means over seeds, a row per variant."""
    values: dict[tuple[str, str], list[float]] = {}
    for record in records:
        values.setdefault((record.scope, record.metric), []).append(100 * record.value)
    figures = {key: statistics.fmean(found) for key, found in values.items()}
    variants = list(dict.fromkeys(r.scope.partition(" ")[0] for r in records))
    points = list(dict.fromkeys(r.scope.partition(" ")[2] for r in records if " " in r.scope))
    lines = [f"| variant | {' | '.join(points)} | 10^15 MACs |", "|---" * (len(points) + 2) + "|"]
    for name in variants:
        cells = [f"{figures[f'{name} {p}', 'accuracy']:.1f} / {figures[f'{name} {p}', 'churn']:.1f}" for p in points]
        lines.append(f"| {name} | {' | '.join(cells)} | {figures[name, 'training_macs'] / 1e17:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--samples", type=int, default=50000, help="How many training images.")
    parser.add_argument("--criterion", default=FAMILY["criterion"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--variants", default=",".join((*RECIPES.names(), *SETTINGS)))
    parser.add_argument("--out", type=Path, default=RUNS / "recipes", help="Folder of what is measured.")
    asked = parser.parse_args()
    core = the_core("resnet20")
    data, held = opened(core, "cifar10-train.parquet"), opened(core, "cifar10-test.npz@part=calibration")
    if asked.samples < len(data):
        data = data.subset(torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[: asked.samples])
    seeds = [Seed(core, data, held, asked, seed) for seed in range(asked.seeds)]
    records = [record for seed in seeds for variant in asked.variants.split(",") for record in seed.records(variant)]
    print("\n" + table(records) + "\n")
    settings = {name: str(value) for name, value in vars(asked).items() if name != "out"}
    print(write_run(HERE / "results", new_run("recipes-resnet20", records, seed=0, settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
