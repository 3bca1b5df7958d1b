"""Two imbalanced medical sets as cases: data, and a core trained on each; used by other benchmarks.

Cells are the blood cells (32x32, 11:1:1) with the CIFAR ResNet-20 trained on; lesions are HAM10000 at 8x8 (67% of one
of 7 classes) with the small residual network for digits, trained from nothing. Cores are trained with weights that
balance classes, as their users would, and kept in runs/cores; the same command makes them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from cifar import DATA, RUNS, opened, the_core
from safetensors.torch import load_file, save_file
from subject import Subject
from torch import Tensor, nn

import concertina as ct
from concertina.load.data import ArrayData, TensorData, batches
from concertina.objective import Classification
from concertina.objective.base import TASKS
from concertina.types import Core, Preprocess

EPOCHS = {"cells": 12, "lesions": 20}
RATE, BATCH = 0.02, 64


@dataclass(frozen=True)
class Case(Subject):
    """A network with its data."""

    augment: str

    @property
    def task(self) -> Classification:
        return Classification(self.core.class_names, self.core.preprocess, augment=self.augment)


def cifar10(samples: int = 50000) -> Case:
    core = the_core("resnet20")
    train, held = opened(core, "cifar10-train.parquet"), opened(core, "cifar10-test.npz@part=calibration")
    if samples < len(train):
        train = train.subset(torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:samples])
    return Case("cifar10", core, train, held, "flip-crop")


def cells() -> Case:
    """Return the blood cells; `val` is what decisions rest on."""
    names = ("RBC", "WBC", "Platelets")
    module = ct.load("zoo:cifar-resnet20", weights=DATA / "resnet20-cifar10.safetensors").module
    module.linear = nn.Linear(64, len(names))  # type: ignore[assignment]
    preprocess = the_core("resnet20").preprocess
    train, held = (images("bccd-cells.npz", part, preprocess, names) for part in ("train", "val"))
    return Case("cells", trained("cells", module, train, preprocess, "flip-crop"), train, held, "flip-crop")


def lesions() -> Case:
    """Return the lesions; a fifth of `train` is what decisions rest on, and the core has not seen it."""
    names = ("akiec", "bcc", "bkl", "df", "nv", "vasc", "mel")
    preprocess = Preprocess(scale=1 / 255, mean=(0.6,), std=(0.15,))
    whole = images("ham10000-8x8.npz", "train", preprocess, names)
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(7))
    held, train = whole.subset(order[: len(whole) // 5]), whole.subset(order[len(whole) // 5 :])
    torch.manual_seed(0)
    module = ct.load("zoo:digits-cnn@classes=7", weights="random").module
    return Case("lesions", trained("lesions", module, train, preprocess, "shift"), train, held, "shift")


def images(file: str, part: str, preprocess: Preprocess, names: Sequence[str]) -> ArrayData:
    """Return one part of a file of images."""
    arrays = np.load(DATA / file)
    pixels = torch.from_numpy(arrays[f"{part}_images"]).float()
    pixels = pixels[:, None] if pixels.dim() == 3 else pixels.movedim(-1, 1)
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    data = ArrayData(
        [(pixels * preprocess.scale - mean) / std, torch.from_numpy(arrays[f"{part}_labels"]).long()], names
    )
    data.source = f"{file}@{part}"
    return data


def trained(name: str, module: nn.Module, train: ArrayData, preprocess: Preprocess, augment: str) -> Core:
    """Return the core of a case; it is trained first where no earlier run kept it."""
    path = RUNS / "cores" / f"{name}.safetensors"
    if not path.exists():
        counts = train.labels.bincount(minlength=len(train.class_names)).double()
        weights = (counts.mean() / counts).sqrt().tolist()
        task = TASKS.get("classification")(train.class_names, preprocess, augment=augment, class_weights=weights)  # type: ignore[call-arg]
        learn(module, task, train, EPOCHS[name])
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: tensor.contiguous() for key, tensor in module.state_dict().items()}, path)
    module.load_state_dict(load_file(path))
    core = ct.load(module.eval(), train.inputs[:2], task="classification", class_names=train.class_names)
    return replace(core, preprocess=preprocess, augment=augment)


def learn(module: nn.Module, task: Classification, train: TensorData, epochs: int) -> None:
    """Train a network plainly: SGD, cosine schedule."""
    optimizer = torch.optim.SGD(module.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = epochs * (len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    module.train()
    for _ in range(epochs):
        order = torch.randperm(len(train), generator=generator)[: len(train) // BATCH * BATCH]
        for rows in order.split(BATCH):
            batch: tuple[Tensor, ...] = task.augment([tensor[rows] for tensor in train.tensors], generator)
            task.loss(module(batch[0]), batch).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


CASES = {"cifar10": cifar10, "cells": cells, "lesions": lesions}


def recalls(module: nn.Module, data: TensorData) -> tuple[Tensor, Tensor]:
    """Return softmax probabilities (n, classes) and labels (n,) of a network's answers."""
    module.eval()
    with torch.no_grad():
        found = [(module(x).double().softmax(1), y) for x, y in batches(data, 256)]
    return torch.cat([p for p, _ in found]), torch.cat([y for _, y in found])
