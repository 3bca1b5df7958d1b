"""Train the packaged weights of the zoo on scikit-learn's real digits, with a fixed seed, on one thread.

Writes `NAME.safetensors` and `NAME.json` (licence, seed, versions, accuracies) into the package's weights folder.
It learns from the training part alone, keeps the epoch that is best on validation, and looks at test once, at the end.

Run: python scripts/train_zoo.py [NAME ...]
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import sklearn
import torch
from safetensors.torch import save_file
from torch import nn

from concertina.load import ZOO, ArrayData, batches, open_data
from concertina.load.zoo.base import WEIGHTS_FOLDER
from concertina.objective import Classification

SEED = 7
BATCH_SIZE = 32
MAX_BYTES = 500_000


@dataclass(frozen=True)
class Recipe:
    """How one network is trained."""

    epochs: int
    learning_rate: float
    weight_decay: float = 0.02


RECIPES = {
    "mlp": Recipe(epochs=80, learning_rate=2e-3),
    "digits-cnn": Recipe(epochs=50, learning_rate=3e-3),
    "tiny-vit": Recipe(epochs=120, learning_rate=2e-3),
}


def evaluate(module: nn.Module, task: Classification, data: ArrayData) -> dict[str, float]:
    """Return the headline figures of `module` on `data`."""
    module.eval()
    with torch.no_grad():
        rows = task.observe(module(data.inputs), (data.inputs, data.labels))
    return {record.metric: record.value for record in task.summarise(rows) if not record.scope}


def train(name: str, parts: dict[str, ArrayData]) -> tuple[nn.Module, int]:
    """Return the network at its best epoch on validation (accuracy, then loss), and that epoch."""
    recipe, network = RECIPES[name], ZOO.get(name)
    task = Classification(network.class_names, network.preprocess, augment="shift", label_smoothing=0.1)
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    module = network.build()
    optimizer = torch.optim.AdamW(module.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * (len(parts["train"]) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, steps)
    best: tuple[float, float] = (-1.0, 0.0)
    kept, kept_epoch = module, 0
    for epoch in range(recipe.epochs):
        module.train()
        for batch in batches(parts["train"], BATCH_SIZE, generator=generator, drop_last=True):
            batch = task.augment(batch, generator)
            optimizer.zero_grad()
            task.loss(module(*task.inputs(batch)), batch).backward()
            optimizer.step()
            schedule.step()
        figures = evaluate(module, task, parts["validation"])
        if (figures["accuracy"], -figures["loss"]) > best:
            best = (figures["accuracy"], -figures["loss"])
            kept, kept_epoch = copy.deepcopy(module), epoch
        print(f"{name} epoch {epoch}: validation accuracy {figures['accuracy']:.4f}, loss {figures['loss']:.4f}")
    return kept.eval(), kept_epoch


def write(name: str, module: nn.Module, epoch: int, parts: dict[str, ArrayData]) -> None:
    """Write weights and card of one network."""
    network, recipe = ZOO.get(name), RECIPES[name]
    state = {k: v.contiguous() for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    path = WEIGHTS_FOLDER / network.weights
    save_file(state, path)
    path.chmod(0o644)
    if path.stat().st_size >= MAX_BYTES:
        raise SystemExit(f"{path.name} has {path.stat().st_size} bytes: {MAX_BYTES} are allowed")
    task = Classification(network.class_names)
    card = {
        "network": name,
        "licence": "Apache-2.0",
        "data": "scikit-learn load_digits (UCI optical recognition of handwritten digits), CC BY 4.0",
        "parts": {part: len(data) for part, data in parts.items()},
        "split_seed": SEED,
        "seed": SEED,
        "epochs": recipe.epochs,
        "kept_epoch": epoch,
        "learning_rate": recipe.learning_rate,
        "batch_size": BATCH_SIZE,
        "augment": "shift",
        "parameters": sum(tensor.numel() for tensor in module.parameters()),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "versions": {"torch": torch.__version__, "scikit-learn": sklearn.__version__},
        "figures": {
            part: {metric: round(value, 4) for metric, value in evaluate(module, task, data).items()}
            for part, data in parts.items()
        },
    }
    Path(path.with_suffix(".json")).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(card["figures"]), path.stat().st_size, "bytes")


def main(names: list[str]) -> None:
    """Train the networks named, or all that have packaged weights."""
    torch.set_num_threads(1)
    for name in names or list(RECIPES):
        parts = {
            part: open_data(f"zoo:digits@{part}", preprocess=ZOO.get(name).preprocess)
            for part in ("train", "validation", "test")
        }
        module, epoch = train(name, parts)
        write(name, module, epoch, parts)


if __name__ == "__main__":
    main(sys.argv[1:])
