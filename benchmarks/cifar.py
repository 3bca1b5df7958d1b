"""The main job on real networks: the CIFAR ResNets as families of five points.

Run: python benchmarks/cifar.py resnet20 fit       (11 epochs: about 45 minutes on one quiet core)
     python benchmarks/cifar.py resnet56 fit       (4 epochs: about an hour on one quiet core)
     python benchmarks/cifar.py resnet56 fit --start benchmarks/artifacts/resnet56.concertina --output more.concertina
     python benchmarks/cifar.py resnet20 measure calibration | test

`fit` writes benchmarks/artifacts/NETWORK.concertina; killed, the same command goes on where it stopped. With `--start`
a family that is there is trained further. `measure` takes every point and the core and writes into benchmarks/results/.
Decisions are made on `part=calibration`; `part=test` is measured once, when they are all made.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

import concertina as ct
from concertina.load.data import TensorData, batches
from concertina.measure.machine import multiplies_bfloat16
from concertina.measure.quality import evaluate, paired_difference
from concertina.measure.runs import new_run, write_run
from concertina.types import Core, Record

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
RUNS = HERE.parent / "runs"
DTYPE = "bfloat16" if multiplies_bfloat16() else "float32"
POINTS = (0.125, 0.25, 0.5, 0.75, 1.0)
SETTINGS = {
    "criterion": "hessian",
    "augment": "flip-crop",
    "batch_size": 64,
    "learning_rate": 0.05,
    "full_from_core": 1.0,
    "dtype": DTYPE,
}
WHOLE = ("conv1",)
"""Kept whole: the residual stream, as it was when the committed families were made (docs/decisions/0007-runs.md)."""
EPOCHS = {"resnet20": 11.0, "resnet56": 4.0}


def the_core(network: str) -> Core:
    return ct.load(f"zoo:cifar-{network}", weights=DATA / f"{network}-cifar10.safetensors")


def opened(core: Core, source: str) -> TensorData:
    return ct.open_data(str(DATA / source), preprocess=core.preprocess, class_names=core.class_names)


def fit(network: str, asked: argparse.Namespace) -> None:
    """Train one family, telling every half minute where it stands."""
    core, started, told = the_core(network), time.monotonic(), [0.0]
    train, held = opened(core, "cifar10-train.parquet"), opened(core, "cifar10-test.npz@part=calibration")
    if asked.factorize:
        core = ct.factorize(core, train, conv=asked.factorize)

    def tell(stage: str, share: float) -> None:
        now = time.monotonic() - started
        if now - told[0] > 30:
            told[0] = now
            print(f"{now:.0f} s  {stage}  {100 * share:.1f}%", flush=True)

    settings = SETTINGS | {"learning_rate": asked.learning_rate}
    if asked.start is None:
        settings |= {"points": POINTS, "ignore": WHOLE}
    else:
        settings["start"] = asked.start
        del settings["criterion"]
    output = asked.output or artifact(network)
    family = ct.fit(
        core,
        train,
        held,
        progress=tell,
        recipe=asked.recipe,
        epochs=asked.epochs or EPOCHS[network],
        seed=asked.seed,
        checkpoint=RUNS / f"{output.stem}-{asked.seed}.fit",
        resume=True,
        **settings,
    )
    family.save(output)
    print(output)


def artifact(network: str) -> Path:
    return HERE / "artifacts" / f"{network}.concertina"


def measure(network: str, part: str, file: Path | None) -> None:
    """Measure every point and the core on a part of the test file, with the paired difference to the core."""
    family, core = ct.open(file or artifact(network)), the_core(network)
    data = opened(core, f"cifar10-test.npz@part={part}")
    runs = {"core": core.module} | {point.name: family.view(point.name) for point in family.points}
    specs = {"core": "core"} | {point.name: point.spec.text for point in family.points}
    records, correct = [], {}
    for name, module in runs.items():
        found = evaluate(module, family.task, batches(data, 250), spec=specs[name], data=data.fingerprint)
        records += found.records
        correct[name] = found.rows["correct"]
        difference, low, high = paired_difference(correct[name], correct["core"])
        records.append(
            Record(specs[name], "accuracy_minus_core", difference, "share", len(data), low, high, data=data.fingerprint)
        )
        accuracy = float(correct[name].float().mean())
        print(f"{name:>6}  accuracy {accuracy:.4f}  minus core {difference:+.4f} [{low:+.4f}, {high:+.4f}]")
    points = [{"name": p.name, "spec": p.spec.text, "share": p.share, "macs": p.macs} for p in family.points]
    settings = {"points": points, "part": part, **family.evidence.provenance}
    print(write_run(HERE / "results", new_run(f"{network}-family", records, seed=0, settings=settings)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=EPOCHS)
    verbs = parser.add_subparsers(dest="verb", required=True)
    fitting = verbs.add_parser("fit")
    fitting.add_argument("--epochs", type=float)
    fitting.add_argument("--seed", type=int, default=0)
    fitting.add_argument("--recipe", default="sandwich")
    fitting.add_argument("--learning-rate", type=float, default=0.05)
    fitting.add_argument("--start", type=Path)
    fitting.add_argument("--factorize", choices=("spatial", "channel"), help="ranks beside widths and blocks")
    fitting.add_argument("--output", type=Path)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("part", choices=("calibration", "test"))
    measuring.add_argument("--file", type=Path)
    asked = parser.parse_args()
    if asked.verb == "fit":
        fit(asked.network, asked)
    else:
        measure(asked.network, asked.part, asked.file)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
