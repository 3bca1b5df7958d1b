"""One core, many image domains: modules on the CIFAR-10 family beside a network fine-tuned for each domain alone.

Run: python benchmarks/domains.py train              (about an hour on one quiet core)
     python benchmarks/domains.py measure held       (minutes; decisions rest on it)
     python benchmarks/domains.py measure test       (once, when they are all made)

Domains: the CIFAR-10 images through JPEG of quality 75, Fashion-MNIST and blood cells at 32x32. At full and at half
size, the module on the frozen point stands beside the same point with all of its weights fine-tuned on the same images
for as many epochs: a network of its own for every domain and size. Rates are the better of two on the held-out part,
after a short try. `train` keeps all in runs/domains; killed, the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from cifar import HERE, RUNS, opened, the_core
from imbalanced import images
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import concertina as ct
from concertina.load.data import ArrayData, TensorData, batches
from concertina.measure.quality import evaluate, paired_difference
from concertina.measure.runs import new_run, write_run
from concertina.objective.base import TASKS, Task
from concertina.types import Preprocess, Record

OUT = RUNS / "domains"
FILE = HERE / "artifacts" / "resnet20.concertina"
SIZES = ("p100", "p50")
EPOCHS, SAMPLES, BATCH, TRIED = 3.0, 6000, 64, 2048
RATES = {"module": (5e-3, 2e-2), "alone": (0.01, 0.04)}
KIND, OPTIONS = "lora", {"rank": 1, "alpha": 1.0}
QUALITY = 75


@dataclass(frozen=True)
class Domain:
    """Data of one domain."""

    name: str
    train: TensorData
    held: TensorData
    test: Callable[[], TensorData]
    """Read when it is measured on, not before."""

    def task(self, preprocess: Preprocess) -> Task:
        return TASKS.get("classification")(self.train.class_names, preprocess, augment="flip-crop")  # type: ignore[call-arg]


def compressed(data: TensorData, preprocess: Preprocess) -> ArrayData:
    """Return normalised images after JPEG."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    found = []
    for rows in torch.arange(len(data)).split(1000):
        pixels = (data.inputs[rows] * std + mean).mul(255).round().clamp(0, 255).to(torch.uint8)
        for image in pixels.movedim(1, -1).numpy():
            held = io.BytesIO()
            Image.fromarray(image).save(held, "JPEG", quality=QUALITY)
            found.append(torch.from_numpy(np.asarray(Image.open(held)).copy()))
    again = torch.stack(found).movedim(-1, 1).float().div(255)
    made = ArrayData([(again - mean) / std, data.labels], data.class_names)
    made.source = f"{data.label} through JPEG {QUALITY}"
    return made


def grey(part: str, preprocess: Preprocess, names: tuple[str, ...]) -> ArrayData:
    """Return Fashion-MNIST padded to 32x32 in three equal colours."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    plain = images("fashion-mnist.npz", part, Preprocess(scale=1 / 255, mean=(0.0,), std=(1.0,)), names)
    made = ArrayData([(F.pad(plain.inputs, (2, 2, 2, 2)).expand(-1, 3, -1, -1) - mean) / std, plain.labels], names)
    made.source = plain.source
    return made


def few(data: TensorData, count: int, seed: int = 0) -> TensorData:
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.subset(order[: min(count, len(data))])


def jpeg(core: ct.Core) -> Domain:
    train, held = few(opened(core, "cifar10-train.parquet"), SAMPLES), opened(core, "cifar10-test.npz@part=calibration")
    return Domain(
        "jpeg",
        compressed(train, core.preprocess),
        compressed(held, core.preprocess),
        lambda: compressed(opened(core, "cifar10-test.npz@part=test"), core.preprocess),
    )


def fashion(core: ct.Core) -> Domain:
    names = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
    whole = grey("train", core.preprocess, names)
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(7))
    train, held = whole.subset(order[:SAMPLES]), whole.subset(order[-5000:])
    return Domain("fashion", train, held, lambda: grey("test", core.preprocess, names))


def cells(core: ct.Core) -> Domain:
    names = ("RBC", "WBC", "Platelets")
    train, held = (images("bccd-cells.npz", part, core.preprocess, names) for part in ("train", "val"))
    return Domain("cells", few(train, SAMPLES), held, lambda: images("bccd-cells.npz", "test", core.preprocess, names))


DOMAINS: Mapping[str, Callable[[ct.Core], Domain]] = {"jpeg": jpeg, "fashion": fashion, "cells": cells}


def alone(family: ct.Family, size: str, domain: Domain) -> nn.Module:
    """Return a copy of a point's network, with a head for the domain's classes."""
    made = family.view(size).materialize()
    if tuple(domain.train.class_names) != tuple(family.core.class_names):
        made.linear = nn.Linear(made.linear.in_features, len(domain.train.class_names))
    return made


def fine_tuned(module: nn.Module, task: Task, data: TensorData, rate: float, epochs: float) -> nn.Module:
    """Return the network with all of its weights trained: SGD with momentum, a rate that falls to nothing."""
    optimizer = torch.optim.SGD(module.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = round(epochs * len(data) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    module.train()
    for _ in range(steps):
        rows = torch.randint(len(data), (BATCH,), generator=generator)
        batch: tuple[Tensor, ...] = task.augment([tensor[rows] for tensor in data.tensors], generator)
        task.loss(module(batch[0]), batch).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return module.eval()


def right(module: nn.Module, task: Task, data: TensorData) -> Tensor:
    return evaluate(module, task, batches(data, 250), spec="", data=data.fingerprint).rows["correct"]


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def better(name: str, tries: Mapping[float, Callable[[], float]]) -> float:
    """Return the rate that does best after a short try."""
    found = {rate: attempt() for rate, attempt in tries.items()}
    say(f"{name}: " + ", ".join(f"{rate:g} {value:.4f}" for rate, value in found.items()))
    return max(found, key=lambda rate: found[rate])


def train(family: ct.Family, domain: Domain) -> None:
    """Train the networks of one domain that are not there yet."""
    task, tried = domain.task(family.core.preprocess), few(domain.train, TRIED, seed=1)
    for size in SIZES:
        path = OUT / f"{domain.name}-{size}.safetensors"
        if path.exists():
            continue

        def attempt(rate: float, size: str = size) -> float:
            found = fine_tuned(alone(family, size, domain), task, tried, rate, 1.0)
            return float(right(found, task, domain.held).float().mean())

        rate = better(path.stem, {rate: lambda rate=rate: attempt(rate) for rate in RATES["alone"]})  # type: ignore[misc]
        made = fine_tuned(alone(family, size, domain), task, domain.train, rate, EPOCHS)
        say(f"{path.stem}: {float(right(made, task, domain.held).float().mean()):.4f}")
        save_file(made.state_dict(), path, {"rate": str(rate)})
    path = OUT / f"{domain.name}-module.safetensors"
    if not path.exists():

        def plug(rate: float) -> float:
            found = family.adapt(
                "try", tried, domain.held, kind=KIND, options=OPTIONS, epochs=1, batch_size=BATCH, learning_rate=rate
            )
            family.modules.delete("try")
            return sum(record.value for record in found) / len(found)

        rate = better(path.stem, {rate: lambda rate=rate: plug(rate) for rate in RATES["module"]})  # type: ignore[misc]
        found = family.adapt(
            domain.name,
            domain.train,
            domain.held,
            kind=KIND,
            options=OPTIONS,
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=rate,
        )
        say(f"{path.stem}: " + " ".join(f"{record.value:.4f}" for record in found))
        family.save_module(domain.name, path)


def measure(family: ct.Family, domain: Domain, part: str) -> list[Record]:
    """Return the figures of one domain at every size."""
    data, task = domain.held if part == "held" else domain.test(), domain.task(family.core.preprocess)
    module, found = family.load_module(OUT / f"{domain.name}-module.safetensors", domain.name), []

    def told(size: str, scope: str, metric: str, value: float, unit: str, *spread: float) -> None:
        spec = family.points[size].spec.text
        low, high = spread or (value, value)
        found.append(Record(spec, metric, value, unit, len(data), low, high, scope=f"{domain.name} {scope}"))
        say(f"{domain.name} {size} {scope} {metric} {value:.4f} [{low:.4f}, {high:.4f}]")

    for size in SIZES:
        answers = {"module": right(family.with_modules(size, domain.name), task, data)}
        made = alone(family, size, domain)
        made.load_state_dict(load_file(OUT / f"{domain.name}-{size}.safetensors"))
        answers["alone"] = right(made.eval(), task, data)
        if tuple(data.class_names) == tuple(family.core.class_names):
            answers["plain"] = right(family.view(size), task, data)
        for scope, rows in answers.items():
            told(size, scope, "accuracy", float(rows.float().mean()), "share")
        told(size, "module beside alone", "difference", *paired_of(answers["module"], answers["alone"]))
    told("p100", "module", "bytes", module.size_bytes / family.points["p100"].size_bytes, "share of the core")
    return found


def paired_of(a: Tensor, b: Tensor) -> tuple[float, str, float, float]:
    value, low, high = paired_difference(a, b)
    return value, "share", low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("train", "measure"))
    parser.add_argument("part", choices=("held", "test"), nargs="?", default="held")
    parser.add_argument("--domains", nargs="*", default=list(DOMAINS), choices=list(DOMAINS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    core, family = the_core("resnet20"), ct.open(FILE)
    records: list[Record] = []
    for name in asked.domains:
        domain = DOMAINS[name](core)
        if asked.what == "train":
            train(family, domain)
        else:
            records += measure(family, domain, asked.part)
    if records:
        run = new_run("domains-resnet20", records, settings={"part": asked.part, "kind": KIND, "options": str(OPTIONS)})
        say(f"wrote {write_run(HERE / 'results', run).name}")


if __name__ == "__main__":
    main()
