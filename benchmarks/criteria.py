"""Every criterion of importance on one network: which order it gives, before and after training.

Run: python benchmarks/criteria.py digits             (about ten minutes: before and after training, three seeds)
     python benchmarks/criteria.py resnet20           (about fifteen minutes: without training, two seeds)
     python benchmarks/criteria.py resnet20 --tune    (also after training; hours on a CPU)

Three questions are asked of each criterion. "order": accuracy of the points along its own growth order, after
calibration alone. "uniform": accuracy at the same share of every width, all blocks kept, after calibration alone,
which leaves the choice of channels only. "tuned": the points along its own order after a short run of the default
recipe. The seed chooses the calibration samples, and with them every random draw. ResNet-20 is judged on
`part=calibration` of the test file, because decisions are taken on these figures.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from cifar import DTYPE, WHOLE
from subject import Subject

import concertina as ct
from concertina.analyse import analyse
from concertina.family.finish import calibrate_points
from concertina.family.samples import sample_of
from concertina.load.data import batches
from concertina.measure.cost import CostModel
from concertina.measure.quality import evaluate
from concertina.measure.runs import new_run, write_run
from concertina.nest import Supernet, choose_points, nest
from concertina.objective.base import TASKS, Task
from concertina.score import CRITERIA, score
from concertina.train import Trainer, TrainSettings, calibrate, num_steps, train
from concertina.types import Graph, Record, SubnetSpec

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
UNIFORM = (0.75, 0.5, 0.25)
SCORED, CALIBRATED = 1024, 4096


@dataclass(frozen=True)
class Case(Subject):
    """A network with its data and how it is asked."""

    shares: tuple[float, ...]
    settings: TrainSettings
    augment: str
    whole: tuple[str, ...] = ()
    """Kept whole; see `cifar.WHOLE`."""

    @property
    def task(self) -> Task:
        return TASKS.get("classification")(self.core.class_names, self.core.preprocess, augment=self.augment)


def digits() -> Case:
    core = ct.load("zoo:digits-cnn")
    train, held = (ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess) for part in ("train", "test"))
    settings = TrainSettings(epochs=4, batch_size=64, learning_rate=0.05)
    return Case("digits", core, train, held, (0.15, 0.25, 0.5, 0.75), settings, core.augment)


def resnet20() -> Case:
    core = ct.load("zoo:cifar-resnet20", weights=DATA / "resnet20-cifar10.safetensors")
    opened = {"preprocess": core.preprocess, "class_names": core.class_names}
    train = ct.open_data(DATA / "cifar10-train.parquet", **opened)
    held = ct.open_data(f"{DATA / 'cifar10-test.npz'}@part=calibration", **opened)
    settings = TrainSettings(epochs=1, learning_rate=0.05, dtype=DTYPE)
    return Case("resnet20", core, train, held, (0.125, 0.25, 0.48, 0.75), settings, "flip-crop", WHOLE)


def ordered(case: Case, graph: Graph, criterion: str, seed: int) -> Supernet:
    """Return the supernet that a criterion gives from a calibration sample, its points laid out."""
    sample = sample_of(case.train, SCORED, seed)
    scores = score(case.core, graph, case.task, list(batches(sample, 32)), criterion=criterion, seed=seed)
    supernet = nest(case.core, graph, scores, CostModel.of)
    choose_points(supernet, case.shares)
    return supernet


def uniform(supernet: Supernet, share: float) -> SubnetSpec:
    """Return the spec with every width at the choice nearest to a share, and all blocks."""
    chosen = {
        dim.name: dim.original if dim.is_gate else min(dim.choices, key=lambda c, d=dim: abs(c - share * d.original))
        for dim in supernet.space.dims
    }
    return SubnetSpec.of(chosen)


def untrained(case: Case, supernet: Supernet, seed: int) -> Iterator[tuple[str, Record]]:
    """Yield (question and point, accuracy) of points and uniform widths after calibration alone."""
    sample = sample_of(case.train, CALIBRATED, seed)
    specs = {f"order {point.name}": point.spec for point in list(supernet.points.values())[:-1]}
    specs |= {f"uniform {100 * share:g}%": uniform(supernet, share) for share in UNIFORM}
    for name, spec in specs.items():
        private = calibrate(supernet, spec, supernet.fresh_private(spec), case.task, batches(sample, 128))
        yield name, accuracy(case, supernet.subnet(spec, private), spec)


def tuned(case: Case, supernet: Supernet, seed: int) -> Iterator[tuple[str, Record]]:
    """Yield (question and point, accuracy) of the points after a short run of the default recipe."""
    settings = replace(case.settings, seed=seed)
    trainer = Trainer(supernet, case.task, steps=num_steps(case.train, settings), settings=settings)
    train(trainer, case.train, recipe="sandwich")
    calibrate_points(supernet, case.task, case.train)
    for point in supernet.points.values():
        yield f"tuned {point.name}", accuracy(case, supernet.at_point(point.name), point.spec)


def accuracy(case: Case, module: torch.nn.Module, spec: SubnetSpec) -> Record:
    found = evaluate(module, case.task, batches(case.held, 250), spec=spec.text, data=case.held.fingerprint)
    return next(record for record in found.records if record.metric == "accuracy")


def table(records: list[Record]) -> str:
    """Return a Markdown table: a row per criterion, best mean first; mean accuracy in % and the seeds' range."""
    columns = list(dict.fromkeys(record.scope.partition(" ")[2] for record in records))
    names = list(dict.fromkeys(record.scope.partition(" ")[0] for record in records))
    cells = {
        (name, column): [100 * r.value for r in records if r.scope == f"{name} {column}"]
        for name in names
        for column in columns
    }
    means = {name: statistics.mean(statistics.mean(cells[name, column]) for column in columns) for name in names}
    lines = [f"| criterion | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in sorted(names, key=lambda n: -means[n]):
        row = [_cell(cells[name, column]) for column in columns]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("digits", "resnet20"))
    parser.add_argument("--tune", action="store_true", help="Also train; digits always does.")
    parser.add_argument("--seeds", type=int, default=0, help="How many seeds: 3 for digits, 2 for resnet20.")
    parser.add_argument("--criteria", default="", help="Names joined by commas; all when left out.")
    asked = parser.parse_args()
    case = {"digits": digits, "resnet20": resnet20}[asked.network]()
    seeds = asked.seeds or {"digits": 3, "resnet20": 2}[case.name]
    graph = analyse(case.core, ignore=case.whole)
    records: list[Record] = []
    for criterion in asked.criteria.split(",") if asked.criteria else CRITERIA.names():
        for seed in range(seeds):
            supernet = ordered(case, graph, criterion, seed)
            found = [*untrained(case, supernet, seed)]
            if asked.tune or case.name == "digits":
                found += tuned(case, supernet, seed)
            records += [replace(record, scope=f"{criterion} {name}", seed=seed) for name, record in found]
            print(criterion, seed, *(f"{name} {100 * r.value:.1f}" for name, r in found), sep="  ", flush=True)
    settings = {
        "network": case.core.source,
        "core": case.core.fingerprint,
        "seeds": seeds,
        "scored samples": SCORED,
        "calibration samples": CALIBRATED,
        "epochs": case.settings.epochs if asked.tune or case.name == "digits" else 0,
        "learning rate": case.settings.learning_rate,
        "held-out samples": len(case.held),
    }
    print("\n" + table(records) + "\n")
    print(write_run(HERE / "results", new_run(f"criteria-{case.name}", records, settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
