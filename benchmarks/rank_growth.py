"""LoRA whose ranks grow in training against LoRA of one rank: accuracy at every point, and what both weigh.

Run: python benchmarks/rank_growth.py               (about two minutes)

The digits, dark on light, are a domain to the zoo's mlp of the usual ones. For each seed modules of both sorts are
trained alike: one of the mean rank from the start, one that starts at half of it and is given the rest where it
matters. Judged on the validation split. The total of ranks is equal; layers differ in size, so parameters need not be.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import torch

import concertina as ct
from concertina.load.data import ArrayData
from concertina.measure.runs import new_run, write_run
from concertina.types import Record

HERE = Path(__file__).resolve().parent
TRAINING = {"epochs": 4.0, "batch_size": 64, "learning_rate": 0.005}


def dark(data: ArrayData) -> ArrayData:
    return ArrayData((data.inputs.amax() + data.inputs.amin() - data.inputs, data.labels), data.class_names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--ranks", default="2,4")
    asked = parser.parse_args()
    core = ct.load("zoo:mlp")
    train, held = (
        ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess, class_names=core.class_names)
        for part in ("train", "validation")
    )
    family = ct.fit(core, train, held, points=(0.3,), epochs=1, order="criterion")
    records: list[Record] = []
    weighs: dict[str, list[int]] = {}
    for rank in map(int, asked.ranks.split(",")):
        for name, options in {
            f"rank {rank}": {"rank": rank},
            f"grown to {rank}": {"rank": rank // 2, "grow_to": rank},
        }.items():
            for seed in range(asked.seeds):
                found = family.adapt(name, dark(train), dark(held), options=options, seed=seed, **TRAINING)
                weighs.setdefault(name, []).append(sum(plug.num_parameters for plug in family.modules[name].plugs))
                family.modules.delete(name)
                records += [replace(record, scope=f"{name}, seed {seed}") for record in found]
            means = {
                point.name: statistics.mean(
                    r.value for r in records if r.scope.startswith(f"{name},") and r.spec == point.spec.text
                )
                for point in family.points
            }
            told = ", ".join(f"{point} {value:.4f}" for point, value in means.items())
            print(f"{name}: {told}; {statistics.mean(weighs[name]):.0f} parameters", flush=True)
    settings = {**TRAINING, "seeds": asked.seeds, "parameters": {name: str(each) for name, each in weighs.items()}}
    print(write_run(HERE / "results", new_run("rank-growth-digits", records, seed=0, settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
