"""Growth steps priced by MACs and by latency: which gives the better front of accuracy against latency?

Run: python benchmarks/worth.py digits                            (about ten minutes: three seeds, both kinds of order)
     python benchmarks/worth.py resnet20 --seeds 1 --orders criterion --samples 10000     (about half an hour)

Each pair of families starts from the same core, criterion and seed and has the same training; only the price of growth
steps differs. All points of all families are timed by turns for real, one input on one thread. Fronts are compared by
their hypervolume: accuracy above 80% of the core's against latency on a log axis, from the fastest point of all to the
full network. Digits are judged on the validation split, ResNet-20 on `part=calibration` of the test file.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import concertina as ct
from concertina.family.options import WORTHS
from concertina.load.data import TensorData
from concertina.measure.latency import latency, module_runner
from concertina.measure.runs import new_run, write_run
from concertina.measure.time_cache import latency_model
from concertina.search import Area
from concertina.types import Core, Record

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
LEAST = 0.8
"""Accuracy counts above this share of the full network's."""
SETTINGS = {
    "digits": {"epochs": 10.0, "points": (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)},
    "resnet20": {
        "epochs": 1.0,
        "learning_rate": 0.05,
        "batch_size": 64,
        "augment": "flip-crop",
        "points": (0.1, 0.2, 0.35, 0.5, 0.75, 1.0),
    },
}


@dataclass(frozen=True)
class Place:
    """A point of a family: where it lies between the two goals."""

    cost: float
    """Milliseconds."""
    score: float
    """Accuracy."""


def opened(network: str, samples: int) -> tuple[Core, TensorData, TensorData]:
    if network == "digits":
        core, weights = ct.load("zoo:digits-cnn"), ("zoo:digits@train", "zoo:digits@validation")
    else:
        core = ct.load("zoo:cifar-resnet20", weights=DATA / "resnet20-cifar10.safetensors")
        weights = (str(DATA / "cifar10-train.parquet"), f"{DATA / 'cifar10-test.npz'}@part=calibration")
    train, held = (ct.open_data(d, preprocess=core.preprocess, class_names=core.class_names) for d in weights)
    if samples:
        train = train.subset(torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:samples])
    return core, train, held


def timed(families: dict[str, ct.Family], limit_s: float) -> dict[str, list[tuple[float, float]]]:
    """Return, per family, each point's latency measured by turns with all others, and by the table, in ms."""
    one = next(iter(families.values())).core
    inputs = [tensor[:1].contiguous() for tensor in one.example_inputs]
    runners = {
        f"{name} {point.name}": module_runner(family.view(point.name), *inputs)
        for name, family in families.items()
        for point in family.points
    }
    found = latency(runners, min_samples=31, time_limit_s=limit_s, threads=1, batch=1)
    tables = {}
    for name, family in families.items():
        supernet = family.supernet
        model = latency_model(supernet.module, inputs, supernet.space, network=one.fingerprint)
        tables[name] = [
            (found[f"{name} {point.name}"].median_ms, model.milliseconds(point.spec)) for point in family.points
        ]
    return tables


def records_of(name: str, family: ct.Family, times: list[tuple[float, float]], seed: int) -> list[Record]:
    records = []
    for point, (measured, table) in zip(family.points, times, strict=True):
        accuracy = next(r for r in family.records if r.spec == point.spec.text and r.metric == "accuracy")
        scope, spec = f"{name} {point.name}", point.spec.text
        records += [
            replace(accuracy, scope=scope, seed=seed),
            Record(spec, "latency_ms_median", measured, "ms", scope=scope, seed=seed),
            Record(spec, "latency_ms_predicted", table, "ms", scope=scope, seed=seed),
            Record(spec, "macs_share", point.share, "share", scope=scope, seed=seed),
        ]
    return records


def volumes(families: dict[str, ct.Family], times: dict[str, list[tuple[float, float]]], seed: int) -> list[Record]:
    """Return the hypervolume of each family's front, by measured latencies and by the table's."""
    records = []
    for place, metric in enumerate(("hypervolume_measured", "hypervolume_predicted")):
        fronts = {
            name: [
                Place(pair[place], dict(point.metrics)["accuracy"])
                for point, pair in zip(family.points, times[name], strict=True)
            ]
            for name, family in families.items()
        }
        costs = [spot.cost for front in fronts.values() for spot in front]
        full = max(spot.score for front in fronts.values() for spot in front)
        area = Area(min(costs), max(costs), LEAST * full)
        records += [
            Record("", metric, area.covered(front), "share * log ms", scope=name, seed=seed)
            for name, front in fronts.items()
        ]
    return records


def table(records: list[Record]) -> str:
    """Return a Markdown table: hypervolumes, means over seeds with each, a row per kind of family."""
    metrics = ("hypervolume_measured", "hypervolume_predicted")
    lines = ["| family | by measured latency | by the table |", "|---|---|---|"]
    for name in dict.fromkeys(r.scope for r in records if r.metric in metrics):
        cells = []
        for metric in metrics:
            values = [r.value for r in records if r.scope == name and r.metric == metric]
            cells.append(f"{statistics.mean(values):.4f} ({', '.join(f'{value:.4f}' for value in values)})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def points_table(name: str, family: ct.Family, times: list[tuple[float, float]]) -> str:
    lines = [name]
    for point, (measured, predicted) in zip(family.points, times, strict=True):
        accuracy = dict(point.metrics)["accuracy"]
        lines.append(
            f"  {point.name:>6} {100 * point.share:5.1f}%  {measured:.3f} ms (table {predicted:.3f})  {accuracy:.4f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--orders", default="criterion,rehearsed")
    parser.add_argument("--samples", type=int, default=0, help="Training samples; all unless said.")
    parser.add_argument("--limit", type=float, default=40.0, help="Seconds of timing for each seed.")
    asked = parser.parse_args()
    core, train, held = opened(asked.network, asked.samples)
    records: list[Record] = []
    for seed in range(asked.seeds):
        families = {
            f"{order} by {worth}": ct.fit(
                core, train, held, seed=seed, order=order, worth=worth, **SETTINGS[asked.network]
            )
            for order in asked.orders.split(",")
            for worth in WORTHS
        }
        times = timed(families, asked.limit)
        for name, family in families.items():
            print(seed, points_table(name, family, times[name]), flush=True)
            records += records_of(name, family, times[name], seed)
        records += volumes(families, times, seed)
    print("\n" + table(records) + "\n")
    settings = SETTINGS[asked.network] | {"training samples": len(train), "held-out samples": len(held)}
    print(write_run(HERE / "results", new_run(f"worth-{asked.network}", records, seed=0, settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
