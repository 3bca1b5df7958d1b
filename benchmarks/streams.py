"""A ResNet whose residual stream can shrink too, against the same with its stream kept whole, on CIFAR-10.

The shortcuts of CIFAR's ResNets pad channels on both sides, so a channel of the first stage lies in the middle of the
later ones: sides of several runs (docs/decisions/0007-runs.md). Both families start from the same core, criterion and
rehearsal and have the same training; they are judged on `part=calibration` of the test file.

Run: python benchmarks/streams.py                                   (one epoch, two seeds: about an hour on one core)
     python benchmarks/streams.py --samples 12800 --seeds 1         (about ten minutes)
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

import torch
from cifar import HERE, SETTINGS, opened, the_core

import concertina as ct
from concertina.load.data import TensorData
from concertina.measure.runs import new_run, write_run
from concertina.types import Core, Record

POINTS = (0.125, 0.25, 0.5, 1.0)
VARIANTS = {"stream whole": ("conv1",), "stream elastic": ()}


def fitted(core: Core, data: tuple[TensorData, TensorData], name: str, seed: int, epochs: float) -> list[Record]:
    """Fit one family and return accuracy and share of each point."""
    family = ct.fit(core, *data, points=POINTS, ignore=VARIANTS[name], seed=seed, epochs=epochs, **SETTINGS)
    records = []
    for asked, point in zip(POINTS, family.points, strict=True):
        found = next(r for r in family.records if r.spec == point.spec.text and r.metric == "accuracy")
        scope = f"{name}, {100 * asked:g}%"
        records.append(replace(found, scope=scope, seed=seed))
        records.append(Record(point.spec.text, "macs_share", point.share, "share", scope=scope, seed=seed))
    return records


def table(records: list[Record]) -> str:
    """Return a Markdown table: mean accuracy over seeds, and the share reached, a row per variant."""
    lines = [f"| | {' | '.join(f'{100 * share:g}%' for share in POINTS)} |", "|---" * (len(POINTS) + 1) + "|"]
    for name in VARIANTS:
        cells = []
        for share in POINTS:
            own = [r for r in records if r.scope == f"{name}, {100 * share:g}%"]
            means = (
                statistics.fmean(r.value for r in own if r.metric == metric) for metric in ("accuracy", "macs_share")
            )
            cells.append("{:.2f} at {:.1f}".format(*(100 * mean for mean in means)))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=50000)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    core = the_core("resnet20")
    train, held = opened(core, "cifar10-train.parquet"), opened(core, "cifar10-test.npz@part=calibration")
    train = train.subset(torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: asked.samples])
    records = []
    for seed in range(asked.seeds):
        for name in VARIANTS:
            found = fitted(core, (train, held), name, seed, asked.epochs)
            print(seed, name, *(f"{100 * r.value:.2f}" for r in found), flush=True)
            records += found
    print("\n" + table(records) + "\n")
    settings = {**vars(asked), **SETTINGS}
    print(write_run(HERE / "results", new_run("streams-resnet20", records, seed=0, settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
