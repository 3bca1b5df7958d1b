"""Torch-Pruning at the points of a CIFAR family: each network cut, then trained by itself.

Run: python benchmarks/rivals.py resnet20 train                        (about three hours on one quiet core)
     python benchmarks/rivals.py resnet20 measure calibration | test   (minutes; after `train`)

Only channels inside blocks are cut: the residual stream cannot be cut rightly behind shortcuts that pad with zeros. A
network has at most the MACs of its point. Its training has the family's batches, augmentation, precision, distillation
from the core and final statistics. Its learning rate is the best of three on `part=calibration`, each tried for a few
epochs. Then it is trained twice: "epochs" gives it as many epochs as the family had in all, "macs" an equal share of
the family's training MACs, teacher passes counted on both sides; what the tries cost is not counted against it.

Epochs and MACs are those that the family's file tells. `train` keeps every network in --out, with a log; killed, the
same command goes on where it stopped. `measure` compares image by image and writes into benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from cifar import HERE, RUNS, SETTINGS, artifact, opened, the_core
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import concertina as ct
from concertina.analyse import analyse
from concertina.family.alone import Training, trained_alone
from concertina.load.data import TensorData, batches
from concertina.measure.baselines import torch_pruning_cut
from concertina.measure.quality import evaluate, paired_difference
from concertina.measure.runs import new_run, write_run
from concertina.objective.base import TASKS, Task
from concertina.train import Reporter
from concertina.types import Core, Graph, Point, Record

MODES = ("epochs", "macs")
TELL_EVERY_S = 60.0


@dataclass(frozen=True)
class Job:
    """One network to train."""

    point: Point
    epochs: float
    rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.point.name}-{self.epochs:.6g}-epochs-{self.rate:g}-seed-{self.seed}"


@dataclass(frozen=True)
class Bench:
    """What all jobs share."""

    core: Core
    graph: Graph
    task: Task
    train: TensorData
    held: TensorData
    out: Path

    def say(self, text: str) -> None:
        """Say a line and keep it in the log."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}"
        print(line, flush=True)
        with (self.out / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")

    def cut(self, point: Point) -> tuple[nn.Module, int]:
        """Return the core cut to a point's MACs, the same each time."""
        found = torch_pruning_cut(self.core, self.graph, point.macs)
        if found is None:
            raise SystemExit(f"Torch-Pruning does not reach {point.macs:,} MACs")
        return found

    def network(self, job: Job) -> nn.Module:
        """Return the trained network of a job that is done."""
        module, _ = self.cut(job.point)
        module.load_state_dict(load_file(self.out / f"{job.name}.safetensors"))
        return module.eval()

    def done(self, job: Job) -> dict[str, float]:
        """Return what a job came to; it is done first where it is not."""
        path = self.out / f"{job.name}.safetensors"
        if not path.exists():
            self._do(job, path)
        with safe_open(path, "pt") as file:
            kept: dict[str, float] = json.loads(file.metadata()["result"])
        return kept

    def _do(self, job: Job, path: Path) -> None:
        module, macs = self.cut(job.point)
        chosen = ct.TrainSettings(
            epochs=job.epochs,
            learning_rate=job.rate,
            seed=job.seed,
            dtype=SETTINGS["dtype"],
            full_from_core=SETTINGS["full_from_core"],
        )
        checkpoint = path.with_suffix(".fit")
        training = Training(self.train, self.task, chosen, checkpoint)
        alone = trained_alone(module, self.core, training, progress=self._teller(job))
        result = {
            "macs": macs,
            "training_macs": alone.training_macs,
            "seconds": alone.seconds,
            "seconds_per_epoch": alone.seconds / job.epochs,
            "calibration": float(self.right(alone.module, self.held).float().mean()),
        }
        half = path.with_suffix(".half")
        save_file(alone.module.state_dict(), half, {"result": json.dumps(result)})
        half.replace(path)
        checkpoint.unlink(missing_ok=True)
        self.say(f"{job.name}  " + "  ".join(f"{key} {value:.5g}" for key, value in result.items()))

    def _teller(self, job: Job) -> Reporter:
        told = [time.monotonic()]

        def tell(stage: str, share: float) -> None:
            if time.monotonic() - told[0] > TELL_EVERY_S:
                told[0] = time.monotonic()
                self.say(f"{job.name}  {stage}  {share:.1%}")

        return tell

    def right(self, module: nn.Module, data: TensorData) -> Tensor:
        """Return for each sample whether a network answers rightly."""
        return evaluate(module, self.task, batches(data, 250), spec="", data=data.fingerprint).rows["correct"]


def prepared(asked: argparse.Namespace) -> Bench:
    core = the_core(asked.network)
    task = TASKS.get(core.task)(core.class_names, core.preprocess, augment=SETTINGS["augment"])
    train = opened(core, "cifar10-train.parquet")
    if asked.samples < len(train):
        train = train.subset(torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: asked.samples])
    asked.out.mkdir(parents=True, exist_ok=True)
    return Bench(core, analyse(core), task, train, opened(core, "cifar10-test.npz@part=calibration"), asked.out)


@dataclass(frozen=True)
class Budget:
    """What the family's training had."""

    epochs: float
    macs: float
    networks: int

    def epochs_of(self, mode: str, macs: int, core_macs: int, samples: int) -> float:
        """Return how many epochs a network gets: those of the family, or those that its share of the MACs pays."""
        if mode == "epochs":
            return self.epochs
        return self.macs / self.networks / (samples * (3 * macs + core_macs))


def the_budget(family: ct.Family, asked: argparse.Namespace) -> Budget:
    facts, networks = family.evidence.provenance, len(family.points) - 1
    epochs = float(facts["epochs"])
    macs = sum(float(facts.get(f"{part} MACs", 0)) for part in ("training", "rehearsal"))
    if asked.epochs:
        return Budget(asked.epochs, macs * asked.epochs / epochs * min(1.0, asked.samples / 50000), networks)
    return Budget(epochs, macs, networks)


def jobs(bench: Bench, family: ct.Family, asked: argparse.Namespace) -> Iterator[tuple[str, Job, dict[str, float]]]:
    """Yield (mode, job, result) of all final networks; whatever is missing is trained on the way."""
    budget, whole = the_budget(family, asked), family.points[-1].macs
    for point in family.points[:-1]:
        tries = [Job(point, asked.pilot, rate, asked.seed) for rate in asked.rates]
        found = {job.rate: bench.done(job)["calibration"] for job in tries}
        best = max(found, key=lambda rate: found[rate])
        bench.say(f"{point.name}  learning rates on calibration: {found}; best {best:g}")
        _, macs = bench.cut(point)
        for mode in MODES:
            job = Job(point, budget.epochs_of(mode, macs, whole, len(bench.train)), best, asked.seed)
            yield mode, job, bench.done(job)


def compared(bench: Bench, family: ct.Family, asked: argparse.Namespace) -> list[Record]:
    """Return accuracies, differences to the family point by point, and costs."""
    data = opened(bench.core, f"cifar10-test.npz@part={asked.part}")
    ours = {point.name: bench.right(family.view(point.name), data) for point in family.points}
    n, records = len(data), []
    for mode, job, result in jobs(bench, family, asked):
        found = evaluate(bench.network(job), bench.task, batches(data, 250), spec="", data=data.fingerprint)
        difference, low, high = paired_difference(ours[job.point.name], found.rows["correct"])
        figures = [
            next(r for r in found.records if r.metric == "accuracy" and not r.scope),
            Record("", "family_minus_rival", difference, "share", n, low, high),
            *(Record("", key, float(result[key]), "MACs") for key in ("macs", "training_macs")),
            Record("", "seconds_per_epoch", result["seconds_per_epoch"], "s"),
            Record("", "epochs", job.epochs, "epochs"),
            Record("", "learning_rate", job.rate, ""),
        ]
        facts = {"spec": job.point.spec.text, "scope": f"{mode} {job.point.name}", "seed": job.seed}
        records += [replace(record, data=data.fingerprint, **facts) for record in figures]
    for point in family.points:
        share = float(ours[point.name].float().mean())
        records.append(
            Record(point.spec.text, "accuracy", share, "share", n, scope=f"family {point.name}", data=data.fingerprint)
        )
    return records


def table(records: list[Record]) -> str:
    """Return a Markdown table, a row per point and mode."""
    figures: dict[str, Mapping[str, Record]] = {}
    for record in records:
        figures[record.scope] = {**figures.get(record.scope, {}), record.metric: record}
    lines = [
        "| point | equal | family | alone | difference (95% interval) | epochs | learning rate | training MACs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scope, found in figures.items():
        mode, _, point = scope.partition(" ")
        if mode == "family":
            continue
        gap = found["family_minus_rival"]
        cells = (
            point,
            mode,
            f"{100 * figures[f'family {point}']['accuracy'].value:.1f}",
            f"{100 * found['accuracy'].value:.1f}",
            f"{100 * gap.value:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})",
            f"{found['epochs'].value:.1f}",
            f"{found['learning_rate'].value:g}",
            f"{found['training_macs'].value:.3g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("resnet20", "resnet56"))
    parser.add_argument("--family", type=Path, help="the family's file; the committed one when left out")
    parser.add_argument("--out", type=Path, help="folder of the networks and the log")
    parser.add_argument("--epochs", type=float, help="instead of the family's; its MACs are scaled along")
    parser.add_argument("--pilot", type=float, default=3.0, help="epochs of each try of a learning rate")
    parser.add_argument(
        "--rates", type=lambda text: [float(part) for part in text.split(",")], default=[0.02, 0.05, 0.1]
    )
    parser.add_argument("--samples", type=int, default=50000, help="training images, for a trial of this script")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("train")
    verbs.add_parser("measure").add_argument("part", choices=("calibration", "test"))
    asked = parser.parse_args()
    asked.out = asked.out or RUNS / f"rivals-{asked.network}"
    asked.family = asked.family or artifact(asked.network)
    return asked


def main() -> None:
    asked = arguments()
    family, bench = ct.open(asked.family), prepared(asked)
    if asked.verb == "train":
        for mode, job, result in jobs(bench, family, asked):
            bench.say(f"{mode} {job.name}  calibration {result['calibration']:.4f}")
        return
    records = compared(bench, family, asked)
    settings = {
        "command": f"python benchmarks/rivals.py {asked.network} measure {asked.part}",
        "part": asked.part,
        "pilot_epochs": asked.pilot,
        "rates": asked.rates,
        "training images": len(bench.train),
        "family": dict(family.evidence.provenance),
    }
    print(
        write_run(asked.results, new_run(f"{asked.network}-rivals", records, seed=asked.seed, settings=settings)).name
    )
    print(table(records))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
