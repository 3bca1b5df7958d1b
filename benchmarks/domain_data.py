"""Domains of images and of texts: training samples, held-out ones, and a test that is read last."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from cifar import DATA, opened
from imbalanced import images
from minilm import package
from PIL import Image
from torch.nn import functional as F

import concertina as ct
from concertina.load import open_labelled_texts, open_tagged_texts
from concertina.load.data import ArrayData, TensorData
from concertina.objective.base import TASKS, Task
from concertina.types import Preprocess

QUALITY = 75
SAMPLES, TEXTS = 6000, 1600
"""Most training samples of a domain of images, and of texts."""


@dataclass(frozen=True)
class Domain:
    """Data of one domain."""

    name: str
    train: TensorData
    held: TensorData
    test: Callable[[], TensorData]
    """Read when it is measured on, not before."""

    @property
    def is_tagged(self) -> bool:
        """Whether each token has a label."""
        return self.train.tensors[-1].dim() == 2

    def task(self, preprocess: Preprocess, augment: str) -> Task:
        if self.is_tagged:
            return TASKS.get("tagging")(self.train.class_names)  # type: ignore[call-arg]
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
        few(opened(core, "cifar10-train.parquet"), SAMPLES),
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
        few(train, SAMPLES),
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
KINDS_OF_NAMES = ("corporation", "creative-work", "group", "location", "person", "product")


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
    samples = TEXTS
    return Domain(
        name, whole.subset(order[held:][:samples]), whole.subset(order[: min(held, 800)]), lambda: read("test")
    )


def names() -> Domain:
    """Return tweets with the names in them tagged; a tenth is what decisions rest on, other places are the test."""
    tags = ("O", *(f"{mark}-{kind}" for kind in KINDS_OF_NAMES for mark in "BI"))

    def read(split: str) -> TensorData:
        tokenizer = package() / "tokenizer.json"
        return open_tagged_texts(DATA / f"wnut17-ner.parquet@split={split}", tokenizer, max_tokens=40, class_names=tags)

    whole = read("train")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(7))
    held = len(whole) // 5
    return Domain("names", whole.subset(order[held:][:TEXTS]), whole.subset(order[:held]), lambda: read("test"))


DOMAINS: Mapping[str, Mapping[str, Callable[[ct.Core], Domain]]] = {
    "images": {"jpeg": jpeg, "fashion": fashion, "cells": cells},
    "texts": {
        **{name: lambda _, name=name: texts(name) for name in SENTENCES},  # type: ignore[misc]
        "names": lambda _: names(),
    },
}
