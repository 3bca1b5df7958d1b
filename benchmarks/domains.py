"""One core, many domains: modules on one family beside a network fine-tuned for each domain alone.

Run: python benchmarks/domains.py images train              (about an hour on one quiet core)
     python benchmarks/domains.py images measure held       (minutes; decisions rest on it)
     python benchmarks/domains.py images measure test       (once, when they are all made)
     python benchmarks/domains.py texts train               (after: minilm.py fit label-free)

Images, with the CIFAR-10 family of ResNet-20: the same images through JPEG of quality 75, Fashion-MNIST and blood cells
at 32x32. Texts, with a MiniLM family: sentiment of films, products and news, subjectivity, question types and news
topics. At full and at half size, the module on the frozen point stands beside the same point with all of its weights
fine-tuned on the same samples for as many epochs: a network of its own for every domain and size. Rates are the better
of two on the held-out part, after a short try. `train` keeps all in runs/domains; killed, the same command goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cifar import DATA, HERE, RUNS, opened, the_core
from imbalanced import images
from minilm import package
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import concertina as ct
from concertina.load import open_labelled_texts
from concertina.load.data import ArrayData, TensorData, batches
from concertina.measure.quality import evaluate, paired_difference
from concertina.measure.runs import new_run, write_run
from concertina.objective.base import TASKS, Task
from concertina.types import Preprocess, Record

OUT = RUNS / "domains"
SIZES = ("p100", "p50")
QUALITY, SAMPLES = 75, 6000


@dataclass(frozen=True)
class Study:
    """One core with its domains, and how they are trained."""

    file: Path
    samples: int
    epochs: float
    batch: int
    tried: int
    """Samples of the short try of each rate."""
    module: tuple[float, ...]
    """Rates of modules (AdamW)."""
    alone: tuple[float, ...]
    """Rates of networks of their own."""
    optimizer: str
    options: Mapping[str, Any]
    augment: str = "none"
    kind: str = "lora"
    layers: tuple[str, ...] = ()


STUDIES = {
    "images": Study(
        HERE / "artifacts" / "resnet20.concertina",
        samples=SAMPLES,
        epochs=3.0,
        batch=64,
        tried=2048,
        module=(5e-3, 2e-2),
        alone=(0.01, 0.04),
        optimizer="sgd",
        options={"rank": 1, "alpha": 1.0},
        augment="flip-crop",
    ),
    "texts": Study(
        RUNS / "minilm" / "label-free.concertina",
        samples=1600,
        epochs=2.0,
        batch=32,
        tried=512,
        module=(1e-3, 3e-3),
        alone=(1e-4, 3e-4),
        optimizer="adamw",
        options={"rank": 8, "alpha": 16.0},
        layers=("encoder",),
    ),
}


@dataclass(frozen=True)
class Domain:
    """Data of one domain."""

    name: str
    train: TensorData
    held: TensorData
    test: Callable[[], TensorData]
    """Read when it is measured on, not before."""

    def task(self, preprocess: Preprocess, augment: str) -> Task:
        return TASKS.get("classification")(self.train.class_names, preprocess, augment=augment)  # type: ignore[call-arg]


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
    train, held = (
        few(opened(core, "cifar10-train.parquet"), STUDIES["images"].samples),
        opened(core, "cifar10-test.npz@part=calibration"),
    )
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
    return Domain(
        "cells",
        few(train, STUDIES["images"].samples),
        held,
        lambda: images("bccd-cells.npz", "test", core.preprocess, names),
    )


SENTENCES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "films": ("sst2.parquet", "", ("bad", "good")),
    "products": ("sentiment-domains.parquet", "domain=product", ("bad", "good")),
    "news": ("sentiment-domains.parquet", "domain=news-opinion", ("bad", "good")),
    "subjectivity": ("subjectivity.parquet", "", ("objective", "subjective")),
    "questions": ("trec.parquet", "", ("abbreviation", "entity", "description", "human", "location", "number")),
    "topics": ("ag-news-small.parquet", "", ("world", "sports", "business", "science")),
}
"""Name -> file, what is selected of it, and names for its labels (their meaning does not matter here)."""


def texts(name: str) -> Domain:
    """Return sentences with classes; a tenth of `train`, or more, is what decisions rest on."""
    file, chosen, names = SENTENCES[name]

    def read(split: str) -> TensorData:
        selection = ",".join(part for part in (f"split={split}", chosen) if part)
        data = open_labelled_texts(
            DATA / f"{file}@{selection}", package() / "tokenizer.json", max_tokens=40, class_names=names
        )
        return TensorData(data.tensors, names)

    whole = read("train")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(7))
    held = max(400, len(whole) // 10)
    samples = STUDIES["texts"].samples
    return Domain(
        name, whole.subset(order[held:][:samples]), whole.subset(order[: min(held, 800)]), lambda: read("test")
    )


DOMAINS: Mapping[str, Mapping[str, Callable[[ct.Core], Domain]]] = {
    "images": {"jpeg": jpeg, "fashion": fashion, "cells": cells},
    "texts": {name: lambda _, name=name: texts(name) for name in SENTENCES},  # type: ignore[misc]
}


class Classifier(nn.Module):
    """An encoder with a head on its outputs, as the modules have it."""

    def __init__(self, encoder: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(features, classes)
        nn.init.zeros_(self.head.weight)

    def forward(self, ids: Tensor) -> Tensor:
        found = self.encoder(ids)
        return self.head(F.layer_norm(found, found.shape[-1:]))


def alone(family: ct.Family, size: str, domain: Domain) -> nn.Module:
    """Return a copy of a point's network, with a head for the domain's classes."""
    made: Any = family.view(size).materialize()
    if not family.core.class_names:
        with torch.no_grad():
            width = made(domain.train.tensors[0][:2]).shape[-1]
        return Classifier(made, width, len(domain.train.class_names))
    if tuple(domain.train.class_names) != tuple(family.core.class_names):
        made.linear = nn.Linear(made.linear.in_features, len(domain.train.class_names))
    return made


def fine_tuned(module: nn.Module, study: Study, task: Task, data: TensorData, rate: float, epochs: float) -> nn.Module:
    """Return the network with all of its weights trained, at a rate that falls to nothing."""
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=0.01)
    if study.optimizer == "sgd":
        optimizer = torch.optim.SGD(module.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = round(epochs * len(data) / study.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    module.train()
    for _ in range(steps):
        rows = torch.randint(len(data), (study.batch,), generator=generator)
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


def train(family: ct.Family, study: Study, domain: Domain) -> None:
    """Train the networks of one domain that are not there yet."""
    task, tried = domain.task(family.core.preprocess, study.augment), few(domain.train, study.tried, seed=1)
    for size in SIZES:
        path = OUT / f"{domain.name}-{size}.safetensors"
        if path.exists():
            continue

        def attempt(rate: float, size: str = size) -> float:
            found = fine_tuned(alone(family, size, domain), study, task, tried, rate, 1.0)
            return float(right(found, task, domain.held).float().mean())

        rate = better(path.stem, {rate: lambda rate=rate: attempt(rate) for rate in study.alone})  # type: ignore[misc]
        made = fine_tuned(alone(family, size, domain), study, task, domain.train, rate, study.epochs)
        say(f"{path.stem}: {float(right(made, task, domain.held).float().mean()):.4f}")
        save_file({key: tensor.contiguous() for key, tensor in made.state_dict().items()}, path, {"rate": str(rate)})
    path = OUT / f"{domain.name}-module.safetensors"
    if not path.exists():
        rate = better(
            path.stem, {rate: lambda rate=rate: plugged(family, study, domain, tried, rate) for rate in study.module}
        )  # type: ignore[misc]
        plugged(family, study, domain, domain.train, rate, keep=path)


def plugged(
    family: ct.Family, study: Study, domain: Domain, data: TensorData, rate: float, keep: Path | None = None
) -> float:
    """Return the mean accuracy over all points of a module trained on some data; keep it where that is asked."""
    found = family.adapt(
        domain.name,
        data,
        domain.held,
        kind=study.kind,
        layers=study.layers,
        options=study.options,
        epochs=study.epochs if keep else 1,
        batch_size=study.batch,
        learning_rate=rate,
    )
    if keep:
        say(f"{keep.stem}: " + " ".join(f"{record.value:.4f}" for record in found))
        family.save_module(domain.name, keep)
    family.modules.delete(domain.name)
    return sum(record.value for record in found) / len(found)


def measure(family: ct.Family, study: Study, domain: Domain, part: str) -> list[Record]:
    """Return the figures of one domain at every size."""
    data, task = domain.held if part == "held" else domain.test(), domain.task(family.core.preprocess, study.augment)
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
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("what", choices=("train", "measure"))
    parser.add_argument("part", choices=("held", "test"), nargs="?", default="held")
    parser.add_argument("--domains", nargs="*", default=[])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    study, family = STUDIES[asked.study], ct.open(STUDIES[asked.study].file)
    core = the_core("resnet20") if asked.study == "images" else family.core
    records: list[Record] = []
    for name in asked.domains or DOMAINS[asked.study]:
        domain = DOMAINS[asked.study][name](core)
        if asked.what == "train":
            train(family, study, domain)
        else:
            records += measure(family, study, domain, asked.part)
    if records:
        settings = {"part": asked.part, "kind": study.kind, "options": str(study.options), "epochs": study.epochs}
        run = new_run(f"domains-{asked.study}", records, settings=settings | {"samples": study.samples})
        say(f"wrote {write_run(HERE / 'results', run).name}")


if __name__ == "__main__":
    main()
