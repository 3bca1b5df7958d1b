"""Growth orders side by side: after the criterion's scores, and measured after a rehearsal.

Run: python benchmarks/orders.py digits                  (about three minutes: three seeds)
     python benchmarks/orders.py resnet20 --epochs 1     (about ten minutes a seed and order on one core)

Each family starts from the same core and criterion and has the same training; only the order differs. Digits are judged
on the validation split, ResNet-20 on `part=calibration` of the test file, because decisions rest on these figures.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import torch
from cifar import DTYPE

import concertina as ct
from concertina.measure.runs import new_run, write_run
from concertina.types import Record

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
SHARES = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
NETWORKS = {
    "digits": ("zoo:digits-cnn", None, "zoo:digits@train", "zoo:digits@validation"),
    "resnet20": (
        "zoo:cifar-resnet20",
        DATA / "resnet20-cifar10.safetensors",
        DATA / "cifar10-train.parquet",
        f"{DATA / 'cifar10-test.npz'}@part=calibration",
    ),
}
SETTINGS = {
    "digits": {"epochs": 10.0},
    "resnet20": {"epochs": 1.0, "learning_rate": 0.05, "dtype": DTYPE, "augment": "flip-crop"},
}


def fitted(network: str, order: str, seed: int, settings: dict[str, object]) -> list[Record]:
    """Fit one family and return the share reached and the accuracy of each point, in the order of `SHARES`."""
    name, weights, train, held = NETWORKS[network]
    core = ct.load(name, weights=weights)
    opened = (ct.open_data(str(d), preprocess=core.preprocess, class_names=core.class_names) for d in (train, held))
    shares = SHARES if network == "digits" else SHARES[2:]
    family = ct.fit(core, *opened, points=shares, order=order, seed=seed, **settings)
    records = []
    for share, point in zip(shares, family.points, strict=True):
        found = next(r for r in family.records if r.spec == point.spec.text and r.metric == "accuracy")
        records.append(replace(found, scope=f"{order} {share:g}", seed=seed))
        records.append(
            Record(point.spec.text, "macs_share", point.share, "share", scope=f"{order} {share:g}", seed=seed)
        )
    return records


def table(records: list[Record]) -> str:
    """Return a Markdown table: mean accuracy over seeds (lowest), and mean share reached, a row per order."""
    cells: dict[str, dict[str, str]] = {}
    for scope in dict.fromkeys(record.scope for record in records):
        order, _, share = scope.partition(" ")
        accuracy, reached = (
            [100 * r.value for r in records if r.scope == scope and r.metric == m] for m in ("accuracy", "macs_share")
        )
        mean = statistics.mean(accuracy)
        cells.setdefault(order, {})[share] = f"{mean:.1f} ({min(accuracy):.1f}) at {statistics.mean(reached):.1f}"
    shares = list(next(iter(cells.values())))
    lines = [f"| order | {' | '.join(f'{100 * float(s):g}%' for s in shares)} |", "|---" * (len(shares) + 1) + "|"]
    return "\n".join((*lines, *(f"| {o} | {' | '.join(row[s] for s in shares)} |" for o, row in cells.items())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    settings = SETTINGS[asked.network] | ({"epochs": asked.epochs} if asked.epochs else {})
    records = []
    for order in ("criterion", "rehearsed"):
        for seed in range(asked.seeds):
            records += fitted(asked.network, order, seed, settings)
            print(order, seed, " ".join(f"{r.value:.3f}" for r in records[-12:]), flush=True)
    print("\n" + table(records) + "\n")
    print(write_run(HERE / "results", new_run(f"orders-{asked.network}", records, seed=0, settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
