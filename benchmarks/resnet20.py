"""The main job on a real network: ResNet-20 on CIFAR-10 as a family of five points.

Run: python benchmarks/resnet20.py fit       (under an hour; writes benchmarks/artifacts/resnet20.concertina)
     python benchmarks/resnet20.py measure calibration | test   (every point and the core, into benchmarks/results/)

Decisions are made on `part=calibration`; `part=test` is measured once, when they are all made.
"""

from __future__ import annotations

import sys
from pathlib import Path

import concertina as ct
from concertina.cli import main as concertina
from concertina.load.data import batches
from concertina.measure.quality import evaluate, paired_difference
from concertina.measure.runs import new_run, write_run
from concertina.types import Record

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
ARTIFACT = HERE / "artifacts" / "resnet20.concertina"
WEIGHTS = DATA / "resnet20-cifar10.safetensors"
FIT = [
    *("fit", "--arch", "zoo:cifar-resnet20", "--weights", str(WEIGHTS)),
    *("--data", str(DATA / "cifar10-train.parquet")),
    *("--validation", f"{DATA / 'cifar10-test.npz'}@part=calibration"),
    *("--points", "0.125,0.25,0.48,0.75,1.0", "--criterion", "hessian"),
    *("--epochs", "5", "--learning-rate", "0.05", "--dtype", "bfloat16", "--resume"),
]


def measure(part: str) -> None:
    """Measure every point and the core on a part of the test file, with the paired difference to the core."""
    family = ct.open(ARTIFACT)
    core = ct.load("zoo:cifar-resnet20", weights=WEIGHTS)
    data = ct.open_data(
        f"{DATA / 'cifar10-test.npz'}@part={part}", preprocess=core.preprocess, class_names=core.class_names
    )
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
    print(write_run(HERE / "results", new_run("resnet20-family", records, seed=0, settings=settings)))


if __name__ == "__main__":
    if sys.argv[1:] == ["fit"]:
        sys.exit(concertina([*FIT, "-o", str(ARTIFACT)]))
    elif sys.argv[1:] in (["measure", "calibration"], ["measure", "test"]):
        measure(sys.argv[2])
    else:
        sys.exit(__doc__)
