"""The tiny decoder on WikiText-2: perplexity of every point, and what two of them write.

Run: python benchmarks/language.py fit                    (about 8 minutes on one quiet core)
     python benchmarks/language.py measure valid | test   (about 2 minutes for test)
     python benchmarks/language.py page                   (docs/language.md from the newest runs)

`fit` writes runs/language/language.concertina (not in the repository); killed, the same command goes on where it
stopped. It learns what the core has learnt from, the first nine tenths of the valid file; `measure valid` takes the
last tenth, which decisions are made on, and `measure test` the test file, once, when they are all made.
"""

from __future__ import annotations

import argparse
import math
import time

import torch
from cifar import DATA, HERE, RUNS

import concertina as ct
from concertina.load.data import TensorData, batches
from concertina.measure.quality import evaluate
from concertina.measure.runs import Run, new_run, read_run, write_run
from concertina.types import Record

OUT = RUNS / "language"
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "language.md"
FILES = {"valid": "wikitext2-valid.txt", "test": "wikitext2-test.txt"}
HELD_SHARE = 0.1
"""Share of the valid file, its end, that neither the core nor the family learns from."""
POINTS = (0.1, 0.25, 0.5, 0.75, 1.0)
SETTINGS = {
    "epochs": 0.75,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "clip_norm": 1.0,
    "full_from_core": 1.0,
}
PROMPT = " The game was first released in "
WRITTEN = 160
"""Bytes that are written behind the prompt."""
TEMPERATURE = 0.7
WRITERS = ("p25", "p100")


def windows(part: str) -> TensorData:
    """Return windows of bytes: "train" and "valid" are parts of one file."""
    data = ct.open_texts(DATA / FILES["test" if part == "test" else "valid"], task="language")
    if part == "test":
        return data
    first = len(data) - round(HELD_SHARE * len(data))
    rows = range(first) if part == "train" else range(first, len(data))
    found = data.subset(rows)
    found.source = f"{'first nine tenths' if part == 'train' else 'last tenth'} of {FILES['valid']}"
    return found


def fit(epochs: float | None, seed: int) -> None:
    """Train the family, telling every half minute where it stands."""
    started, told = time.monotonic(), [0.0]

    def tell(stage: str, share: float) -> None:
        now = time.monotonic() - started
        if now - told[0] > 30:
            told[0] = now
            print(f"{now:.0f} s  {stage}  {100 * share:.1f}%", flush=True)

    chosen = SETTINGS | ({"epochs": epochs} if epochs else {})
    OUT.mkdir(parents=True, exist_ok=True)
    family = ct.fit(
        ct.load("zoo:tiny-decoder"),
        windows("train"),
        windows("valid"),
        points=POINTS,
        progress=tell,
        seed=seed,
        checkpoint=OUT / "language.fit",
        resume=True,
        **chosen,
    )
    family.save(OUT / "language.concertina")
    print(family.points)


def measure(part: str) -> None:
    """Measure the core and every point, and have two points write."""
    family, core, data = ct.open(OUT / "language.concertina"), ct.load("zoo:tiny-decoder"), windows(part)
    modules = {"core": ("core", core.module)} | {
        point.name: (point.spec.text, family.view(point.name)) for point in family.points
    }
    records = []
    for name, (spec, module) in modules.items():
        found = evaluate(module, family.task, batches(data, 64), spec=spec, data=data.fingerprint).records
        records += found
        print(name, {record.metric: round(record.value, 4) for record in found}, flush=True)
    settings = {
        "part": part,
        "bytes": int((data.tensors[0][:, 1:] >= 0).sum()),
        "points": [
            {"name": p.name, "spec": p.spec.text, "share": p.share, "macs": p.macs, "params": p.params}
            for p in family.points
        ],
        "heads": {point.name: heads(family.view(point.name)) for point in family.points},
        "prompt": PROMPT,
        "temperature": TEMPERATURE,
        "written": {name: written(family.view(name)) for name in WRITERS},
        **family.evidence.provenance,
    }
    print(write_run(RESULTS, new_run(f"language-{part}", records, seed=0, settings=settings)))


def heads(subnet: torch.nn.Module) -> list[int]:
    """Return how many heads each block of a decoder has; 0 where the block is left out."""
    attentions = [getattr(block, "attention", None) for block in subnet.blocks]
    return [0 if found is None else found.k.out_features // found.head_size for found in attentions]


def written(subnet: torch.nn.Module) -> str:
    """Return what a subnet writes behind the prompt."""
    coder = ct.open_tokenizer("bytes")
    ids = ct.generate(subnet, coder.text(PROMPT), WRITTEN, temperature=TEMPERATURE, seed=0)
    return coder.decode(ids)


INTRO = """# Language models

A network that foretells the next token becomes a family like any other: its heads, widths and blocks shrink, each point
is trained to foretell on its own and taught by the larger ones, and is judged by its perplexity, of which less is
better. No label is needed, and for the zoo's decoder no tokenizer either: it reads bytes.

```sh
concertina fit zoo:tiny-decoder --data train.txt --validation held.txt --optimizer adamw --learning-rate 0.001 \\
    --batch-size 16 --points 0.1,0.25,0.5,0.75,1 -o texts.concertina
concertina measure texts.concertina --data other.txt
```

```python
import concertina as ct

core = ct.load("zoo:tiny-decoder")
train, held = (ct.open_texts(name, task="language") for name in ("train.txt", "held.txt"))
family = ct.fit(core, train, held, epochs=1, batch_size=16, optimizer="adamw", learning_rate=1e-3)
coder = ct.open_tokenizer("bytes")
print(coder.decode(ct.generate(family.at(0.5), coder.text("The game was "), 80, temperature=0.7)))
```

A network of your own takes `task="language"`, windows of the ids of its `tokenizer.json`
(`ct.open_texts("train.txt", "tokenizer.json", task="language", max_tokens=256)`), and gives logits
(batch, tokens, vocabulary). Ids below 0 are padding.
"""


def page(valid: Run, test: Run) -> str:
    """Return the page as Markdown, from the run files alone."""
    settings = test.settings
    lines = [INTRO, "## What comes of it", "", *table(valid, test), ""]
    spent = float(settings["training MACs"])
    lines += [
        "WikiText-2 byte by byte: perplexity says among how many equally likely bytes a network is as unsure, so it is "
        "not to be compared with perplexities of words. Intervals are 95%, over windows of 128 bytes "
        f"({records(test, 'core')['perplexity'].n:,} of the test file, {settings['bytes']:,} bytes). "
        f"The family learnt in {settings['training steps']} steps ({spent:.2g} MACs, {settings['epochs']} epochs of "
        "the text that the core has learnt from), and the core teaches its full point. Made by "
        "`python benchmarks/language.py fit`, `measure valid` and `measure test`; figures: "
        f"[test](../benchmarks/results/{test.file_name}), [valid](../benchmarks/results/{valid.file_name}).",
        "",
        lost(test),
        "",
        "## Generation",
        "",
        "`ct.generate` writes on with any point. The decoder keeps keys and values of what it has read; they come from "
        "the projections that the point has, so the cache shrinks with its heads and blocks: nothing in it is sized "
        "for the full network. The text is the same as without the cache.",
        "",
        f"Behind the prompt `{settings['prompt']}`, drawn at temperature {settings['temperature']:g} with seed 0:",
        "",
    ]
    for point in settings["points"]:
        if point["name"] in settings["written"]:
            told = ", ".join(map(str, settings["heads"][point["name"]]))
            lines += [f"**{point['name']}** ({point['share']:.0%} of the MACs; heads by block: {told})", "", "```text"]
            lines += [settings["written"][point["name"]].strip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def lost(test: Run) -> str:
    """Return the sentence about the full point beside the core."""
    full, core = (records(test, spec)["perplexity"].value for spec in (test.settings["points"][-1]["spec"], "core"))
    return f"So short a training costs the full point: its perplexity lies {full / core - 1:+.1%} off the core's."


def table(valid: Run, test: Run) -> list[str]:
    """Return the table of points, the largest first."""
    titles = "point | MACs | parameters | perplexity, valid | perplexity, test | 95% interval | bits per byte, test"
    lines = [f"| {titles} |", "|---" + "|--:" * titles.count("|") + "|"]
    core = {"name": "core", "spec": "core", "share": 1.0, "params": test.settings["points"][-1]["params"]}
    for point in (core, *reversed(test.settings["points"])):
        own, held = records(test, point["spec"]), records(valid, point["spec"])
        value = own["perplexity"]
        cells = [point["name"], f"{point['share']:.0%}", f"{point['params']:,}", f"{held['perplexity'].value:.3f}"]
        cells += [f"{value.value:.3f}", f"{value.low or math.nan:.3f} to {value.high or math.nan:.3f}"]
        cells.append(f"{own['bits_per_byte'].value:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def records(run: Run, spec: str) -> dict[str, Record]:
    return {record.metric: record for record in run.records if record.spec == spec}


def newest(part: str) -> Run:
    return read_run(max(RESULTS.glob(f"language-{part}_*.json"), key=lambda path: path.name.rpartition("_")[2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    fitting = verbs.add_parser("fit")
    fitting.add_argument("--epochs", type=float)
    fitting.add_argument("--seed", type=int, default=0)
    verbs.add_parser("measure").add_argument("part", choices=("valid", "test"))
    verbs.add_parser("page")
    asked = parser.parse_args()
    if asked.verb == "fit":
        fit(asked.epochs, asked.seed)
    elif asked.verb == "measure":
        measure(asked.part)
    else:
        PAGE.write_text(page(newest("valid"), newest("test")), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
