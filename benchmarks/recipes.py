"""Every recipe, and every setting of training that is off by default, on ResNet-20 and CIFAR-10.

Run: python benchmarks/recipes.py                                  (all of them at 4 epochs: hours on a CPU)
     python benchmarks/recipes.py --epochs 1 --samples 25600       (what the defaults of the settings rest on)
     python benchmarks/recipes.py --variants sandwich,average-0.99

Each variant starts from the same core, order and points, and is judged on `part=calibration` of the test file by
accuracy and by churn: how often its answer differs from the core's.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import concertina as ct
from concertina.family.finish import calibrate_points
from concertina.load.data import TensorData, batches
from concertina.measure.quality import churn, evaluate
from concertina.measure.runs import new_run, write_run
from concertina.train import RECIPES, Trainer, TrainSettings, num_steps, train
from concertina.types import Record

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
POINTS = (0.125, 0.25, 0.48, 0.75, 1.0)
SETTINGS: dict[str, dict[str, Any]] = {
    "full-from-core-1": {"full_from_core": 1.0},
    "shrink-share-0.5": {"shrink_share": 0.5},
    "clip-norm-2": {"clip_norm": 2.0},
    "average-0.99": {"average": 0.99},
}
"""Variants of the sandwich: one setting changed each."""


def trained(core: ct.Core, data: TensorData, held: TensorData, variant: str, asked: argparse.Namespace) -> list[Record]:
    """Train one variant and return accuracy and churn of every point, with the variant as their scope."""
    recipe = variant if variant in RECIPES else "sandwich"
    ready = ct.prepare(core, data, points=POINTS, criterion=asked.criterion, augment="flip-crop", recipe=recipe)
    settings = TrainSettings(epochs=asked.epochs, learning_rate=0.05, dtype="bfloat16", seed=asked.seed)
    settings = replace(settings, **SETTINGS.get(variant, {}))
    steps, started = num_steps(data, settings), time.monotonic()
    trainer = Trainer(ready.supernet, ready.task, steps=steps, recipe=recipe, settings=settings)
    train(trainer, ready.train_data, recipe=recipe)
    spent = time.monotonic() - started
    calibrate_points(ready.supernet, ready.task, data)
    reference = evaluate(core.module, ready.task, batches(held, 250), spec="core", data=held.fingerprint)
    records = [Record("family", "training_macs", float(trainer.macs_spent), "MACs", scope=variant, seed=asked.seed)]
    for point in ready.supernet.points.values():
        module = ready.supernet.at_point(point.name)
        found = evaluate(module, ready.task, batches(held, 250), spec=point.spec.text, data=held.fingerprint)
        figures = [record for record in found.records if record.metric == "accuracy"]
        predictions = found.rows["prediction"], reference.rows["prediction"]
        figures.append(churn(*predictions, spec=point.spec.text, data=held.fingerprint))
        records += [replace(record, scope=f"{variant} {point.name}", seed=asked.seed) for record in figures]
    shown = (f"{100 * record.value:.1f}" for record in records[1:])
    print(f"{variant}  {spent:.0f} s  accuracy, churn: {' '.join(shown)}", flush=True)
    return records


def table(records: list[Record]) -> str:
    """Return a Markdown table: accuracy and churn in %, a row per variant."""
    figures = {(record.scope, record.metric): 100 * record.value for record in records}
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
    parser.add_argument("--samples", type=int, default=50000, help="How many training images, chosen by the seed.")
    parser.add_argument("--criterion", default="hessian")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", default=",".join((*RECIPES.names(), *SETTINGS)))
    asked = parser.parse_args()
    core = ct.load("zoo:cifar-resnet20", weights=DATA / "resnet20-cifar10.safetensors")
    opened = {"preprocess": core.preprocess, "class_names": core.class_names}
    data = ct.open_data(DATA / "cifar10-train.parquet", **opened)
    held = ct.open_data(f"{DATA / 'cifar10-test.npz'}@part=calibration", **opened)
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(asked.seed))[: asked.samples]
    data = data.subset(chosen)
    records = [r for variant in asked.variants.split(",") for r in trained(core, data, held, variant, asked)]
    print("\n" + table(records) + "\n")
    print(write_run(HERE / "results", new_run("recipes-resnet20", records, seed=asked.seed, settings=vars(asked))))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
