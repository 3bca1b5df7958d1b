"""Train the packaged weights of the zoo's decoder on WikiText-2, byte by byte, with a fixed seed, on one thread.

Writes `tiny-decoder.safetensors` and `.json` (licence, seed, versions, figures) into the package's weights folder. It
learns from the first nine tenths of the valid file, as the train file is not at hand, and keeps the epoch that is best
on the last tenth; `benchmarks/language.py` looks at the test file.

Run: python scripts/train_decoder.py ../shared/data/wikitext2-valid.txt   (about 8 minutes on one quiet core)
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from concertina.load import ZOO, batches, open_texts
from concertina.load.data import TensorData
from concertina.load.text import windows
from concertina.load.zoo.base import WEIGHTS_FOLDER
from concertina.objective import Language

NAME = "tiny-decoder"
SEED = 7
EPOCHS = 5
BATCH_SIZE = 16
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.1
CLIP_NORM = 1.0
HELD_SHARE = 0.1
MAX_BYTES = 2_000_000


def evaluate(module: nn.Module, ids: Tensor) -> dict[str, float]:
    """Return the figures of `module` on windows (n, tokens)."""
    module.eval()
    task = Language()
    with torch.no_grad():
        parts = [task.observe(module(*task.inputs(batch)), batch) for batch in batches(TensorData([ids]), 64)]
    rows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {record.metric: record.value for record in task.summarise(rows)}


def train(text: Tensor, held: Tensor) -> tuple[nn.Module, int]:
    """Return the network at its best epoch on held windows (n, tokens), and that epoch; `text` (tokens,) is learnt."""
    task, length = Language(), held.shape[1]
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    module = ZOO.get(NAME).build()
    matrices = [p for p in module.parameters() if p.dim() > 1]
    others = [p for p in module.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, LEARNING_RATE, betas=(0.9, 0.95))
    steps = EPOCHS * ((len(text) - length) // (length - 1) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps + EPOCHS, pct_start=0.1)
    best, kept, kept_epoch, started = float("inf"), module, 0, time.monotonic()
    for epoch in range(EPOCHS):
        module.train()
        start = int(torch.randint(length - 1, (1,), generator=generator))  # windows begin elsewhere in each epoch
        cut = TensorData([windows(text[start:], length, "text")[:-1]])
        for batch in batches(cut, BATCH_SIZE, generator=generator, drop_last=True):
            optimizer.zero_grad()
            task.loss(module(*task.inputs(batch)), batch).backward()
            nn.utils.clip_grad_norm_(module.parameters(), CLIP_NORM)
            optimizer.step()
            schedule.step()
        figures = evaluate(module, held)
        if figures["loss"] < best:
            best, kept, kept_epoch = figures["loss"], copy.deepcopy(module), epoch
        print(f"epoch {epoch}, {time.monotonic() - started:.0f} s: held-out {figures}", flush=True)
    return kept.eval(), kept_epoch


def write(module: nn.Module, epoch: int, file: Path, parts: dict[str, Tensor]) -> None:
    """Write weights and card."""
    path = WEIGHTS_FOLDER / ZOO.get(NAME).weights
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path)
    path.chmod(0o644)
    if path.stat().st_size >= MAX_BYTES:
        raise SystemExit(f"{path.name} has {path.stat().st_size} bytes: {MAX_BYTES} are allowed")
    card = {
        "network": NAME,
        "licence": ZOO.entry(NAME).licence,
        "data": "WikiText-2, valid file (Merity et al. 2016, arXiv 1609.07843; text of Wikipedia), CC BY-SA 3.0",
        "data_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "tokenizer": "bytes",
        "parts": {part: int((windows >= 0)[:, 1:].sum()) for part, windows in parts.items()},
        "seed": SEED,
        "epochs": EPOCHS,
        "kept_epoch": epoch,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "batch_size": BATCH_SIZE,
        "parameters": sum(tensor.numel() for tensor in module.parameters()),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "versions": {"torch": torch.__version__},
        "figures": {
            part: {metric: round(value, 4) for metric, value in evaluate(module, windows).items()}
            for part, windows in parts.items()
        },
    }
    Path(path.with_suffix(".json")).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(card["figures"]), path.stat().st_size, "bytes")


def main(file: Path) -> None:
    """Train on the first nine tenths of a text and write the weights."""
    torch.set_num_threads(1)
    whole = open_texts(file, task="language").tensors[0]
    held_windows = round(HELD_SHARE * len(whole))
    learnt, held = whole[:-held_windows], whole[-held_windows:]
    text = torch.cat([learnt[:, :-1].reshape(-1), learnt[-1, -1:]])
    module, epoch = train(text, held)
    write(module, epoch, file, {"train": learnt, "validation": held})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
