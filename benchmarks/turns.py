"""Which turn of MiniLM's embeddings leaves the most in their first numbers, without any training.

Run: python benchmarks/turns.py      (two minutes on one core; see benchmarks/minilm.py for the weights)

Every turn is orthogonal, so whole embeddings keep their cosines. Axes come from 3,000 unlabelled sentences; judged by
Spearman's correlation on STS-B's dev split. Three seeds where a turn draws at random.
"""

from __future__ import annotations

import statistics

import minilm
import torch
from cifar import HERE
from torch import Tensor
from torch.nn import functional as F

from concertina.load.data import TensorData, batches
from concertina.measure.runs import new_run, write_run
from concertina.objective.intervals import spearman
from concertina.objective.similarity import Similarity
from concertina.types import Core, Record

SIZES = (384, 256, 128, 64, 32)
MIXED = (192, 256, 320)
SEEDS = (0, 1, 2)


def embedded(core: Core, data: TensorData) -> Tensor:
    """Return normalised embeddings of both sides, (2, samples, features)."""
    task, parts = Similarity(), []
    with torch.no_grad():
        for batch in batches(data, 64):
            rows = core.module(*task.inputs((*batch[:2], torch.zeros(len(batch[0])))))
            parts.append(F.normalize(rows, dim=-1).reshape(2, len(batch[0]), -1))
    return torch.cat(parts, 1).double()


def random_turn(size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]


def turns(rows: Tensor) -> dict[str, list[Tensor]]:
    """Return name -> turns (features, features), one a seed where it draws at random."""
    size = rows.shape[-1]
    axes = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1).T

    def mixed(count: int, seed: int) -> Tensor:
        return torch.cat((random_turn(count, seed) @ axes[:count], axes[count:]))

    found = {"none": [torch.eye(size, dtype=torch.float64)], "random": [random_turn(size, seed) for seed in SEEDS]}
    found["principal axes"] = [axes]
    return found | {f"first {count} axes mixed": [mixed(count, seed) for seed in SEEDS] for count in MIXED}


def main() -> None:
    core, dev = minilm.the_core(), minilm.pairs("dev")
    ours, rows = embedded(core, dev), embedded(core, minilm.sentences(1500)).flatten(0, 1)
    records = []
    for name, found in turns(rows).items():
        cells = []
        for size in SIZES:
            values = []
            for seed, turn in enumerate(found):
                a, b = (ours @ turn.T)[..., :size]
                value, low, high = spearman(F.cosine_similarity(a, b, dim=-1), dev.tensors[-1])
                scope = f"{name} outputs={size}"
                records.append(Record("", "spearman", value, "correlation", len(dev), low, high, seed, scope))
                values.append(value)
            cells.append(f"{statistics.fmean(values):.4f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(write_run(HERE / "results", new_run("minilm-turns", records, settings={"sizes": SIZES, "seeds": SEEDS})))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
