"""One core, many domains: modules on one family beside a network fine-tuned for each domain alone.

Run: python benchmarks/domains.py images train              (about an hour on one quiet core)
     python benchmarks/domains.py images measure held       (minutes; decisions rest on it)
     python benchmarks/domains.py images measure test       (once, when they are all made)
     python benchmarks/domains.py texts train               (after: minilm.py fit label-free)

Images, with the CIFAR-10 family of ResNet-20: the same images through JPEG of quality 75, Fashion-MNIST and blood cells
at 32x32. Texts, with a MiniLM family: sentiment of films, products and news, subjectivity, question types, news topics,
and names in tweets. At full and at half size, the module on the frozen point stands beside the same point with all of
its weights fine-tuned on the same samples for as many epochs: a network of its own for every domain and size. Rates are
the better of two on the held-out part, after a short try. `train` keeps all in runs/domains; killed, the same command
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cifar import HERE, RUNS, opened, the_core
from domain_data import DOMAINS, SAMPLES, TEXTS, Domain, few
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import concertina as ct
from concertina.load.data import TensorData, batches
from concertina.measure.quality import Quality, evaluate, paired_difference, paired_ratio
from concertina.measure.runs import Run, new_run, read_run, write_run
from concertina.objective.base import Task
from concertina.types import Record

OUT = RUNS / "domains"
SIZES = ("p100", "p50")


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
        samples=TEXTS,
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


def for_tags(study: Study) -> Study:
    """Return how tagging is learnt: few tokens are names, so it takes longer and larger rates until any is found."""
    return replace(study, epochs=5.0, alone=(5e-4,), module=(5e-3,))


class Classifier(nn.Module):
    """An encoder with a head on its outputs, as the modules have it."""

    def __init__(self, encoder: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(features, classes)
        nn.init.zeros_(self.head.weight)

    def forward(self, ids: Tensor) -> Tensor:
        found = self.encoder(ids)
        return self.head(F.layer_norm(found, found.shape[-1:]))


class Tagger(nn.Module):
    """The encoder's vectors of tokens with a head on them, as the modules have it."""

    def __init__(self, encoder: Any, classes: int) -> None:
        super().__init__()
        width = encoder.embeddings.LayerNorm.weight.shape[0]
        self.encoder, self.head = encoder, nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)

    def forward(self, ids: Tensor) -> Tensor:
        found = self.encoder.encoder(self.encoder.embeddings(ids), (ids != 0)[:, None, None, :])
        return self.head(F.layer_norm(found, found.shape[-1:]))


def alone(family: ct.Family, size: str, domain: Domain) -> nn.Module:
    """Return a copy of a point's network, with a head for the domain's classes."""
    made: Any = family.view(size).materialize()
    if domain.is_tagged:
        return Tagger(made, len(domain.train.class_names))
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


def figures(module: nn.Module, task: Task, data: TensorData) -> Quality:
    return evaluate(module, task, batches(data, 250), spec="", data=data.fingerprint)


def figure(found: Quality, task: Task) -> Record:
    """Return the figure that a task is judged by."""
    return next(record for record in found.records if record.metric == task.metric.name)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def better(name: str, tries: Mapping[float, Callable[[], float]]) -> float:
    """Return the rate that does best after a short try; the only one needs none."""
    if len(tries) == 1:
        return next(iter(tries))
    found = {rate: attempt() for rate, attempt in tries.items()}
    say(f"{name}: " + ", ".join(f"{rate:g} {value:.4f}" for rate, value in found.items()))
    return max(found, key=lambda rate: found[rate])


def train(family: ct.Family, study: Study, domain: Domain) -> None:
    """Train the networks of one domain that are not there yet."""
    study = for_tags(study) if domain.is_tagged else study
    task, tried = domain.task(family.core.preprocess, study.augment), few(domain.train, study.tried, seed=1)
    for size in SIZES:
        path = OUT / f"{domain.name}-{size}.safetensors"
        if path.exists():
            continue

        def attempt(rate: float, size: str = size) -> float:
            found = fine_tuned(alone(family, size, domain), study, task, tried, rate, 1.0)
            return figure(figures(found, task, domain.held), task).value

        rate = better(path.stem, {rate: lambda rate=rate: attempt(rate) for rate in study.alone})  # type: ignore[misc]
        made = fine_tuned(alone(family, size, domain), study, task, domain.train, rate, study.epochs)
        say(f"{path.stem}: {figure(figures(made, task, domain.held), task).value:.4f}")
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

    def told(size: str, scope: str, metric: str, value: float, unit: str, *spread: float | None) -> None:
        spec, (low, high) = family.choose(point=size).spec.text, spread or (None, None)
        found.append(Record(spec, metric, value, unit, len(data), low, high, scope=f"{domain.name} {scope}"))
        say(f"{domain.name} {size} {scope} {metric} {value:.4f} {list(spread)}")

    for size in SIZES:
        answers = {"module": figures(family.with_modules(size, domain.name), task, data)}
        made = alone(family, size, domain)
        made.load_state_dict(load_file(OUT / f"{domain.name}-{size}.safetensors"))
        answers["alone"] = figures(made.eval(), task, data)
        if tuple(data.class_names) == tuple(family.core.class_names):
            answers["plain"] = figures(family.view(size), task, data)
        for scope, answer in answers.items():
            found_ = figure(answer, task)
            told(size, scope, found_.metric, found_.value, found_.unit, found_.low, found_.high)
        told(size, "module beside alone", "difference", *paired_of(answers["module"], answers["alone"]))
    told("p100", "module", "bytes", module.size_bytes / family.choose(point="p100").size_bytes, "share of the core")
    return found


def routing(family: ct.Family, domains: Mapping[str, Domain], own: TensorData | None, part: str) -> list[Record]:
    """Return how often the router finds an input's domain, and what that costs."""
    asked = {name: domain.held if part == "held" else domain.test() for name, domain in domains.items()}
    asked |= {"__base__": own} if own is not None else {}
    found, macs = [], min(point.macs for point in family.points)
    for name, data in asked.items():
        routed = [family.route(batch[:-1]) for batch in batches(few(data, 1000), 250)]
        names = [each for batch in routed for each in batch]
        share = sum(each == name for each in names) / len(names)
        told = {str(each): names.count(each) for each in dict.fromkeys(names)}
        say(f"router: {name} {share:.4f} of {len(names)}: {told}")
        found.append(Record("router", "routed_rightly", share, "share", len(names), scope=name))
    cost = macs / family.choose(point="p100").macs
    return [*found, Record("router", "macs", cost, "share of the core's", 1)]


def switching(family: ct.Family) -> list[Record]:
    """Return what it takes to switch between a hundred attached modules, and whether anything of the core is copied."""
    like = next(iter(family.modules.values()))
    for i in range(100):
        family.modules.add(replace(like, name=f"copy {i}"))
    handle, times = family.plugged("p100"), {"first": list[float](), "again": list[float]()}
    core = {tensor.untyped_storage().data_ptr() for tensor in family.view("p100").parameters()}
    copied = 0
    for turn in times:
        for i in range(100):
            start = time.perf_counter()
            handle.set(f"copy {i}")
            times[turn].append(1e3 * (time.perf_counter() - start))
            copied += sum(p.numel() for p in handle.network.parameters() if p.untyped_storage().data_ptr() not in core)
    for i in range(100):
        family.modules.delete(f"copy {i}")
    found = [
        Record("p100", f"switch_ms_{turn}", sorted(held)[50], "ms", 100, sorted(held)[2], sorted(held)[97])
        for turn, held in times.items()
    ]
    say(" ".join(f"{record.metric} {record.value:.3f} [{record.low:.3f}, {record.high:.3f}]" for record in found))
    return [*found, Record("p100", "values_copied", copied, "values", 100)]


def paired_of(a: Quality, b: Quality) -> tuple[float, str, float, float]:
    """Return how much better one network is than another on the same samples, with its interval."""
    if "correct" in a.rows:
        value, low, high = paired_difference(a.rows["correct"], b.rows["correct"])
    else:
        value, low, high = paired_ratio(*(pair for each in (a.rows, b.rows) for pair in of_spans(each)))
    return value, "share", low, high


def of_spans(rows: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return what F1 is the ratio of, for each sample."""
    return 2 * rows["hits"], rows["found"] + rows["wanted"]


def newest(study: str) -> Path:
    """Return the last run file of a study."""
    return max((HERE / "results").glob(f"domains-{study}_*.json"), key=lambda path: path.name.rpartition("_")[2])


def table(study: str, run: Run) -> str:
    """Return the figures of a run as docs/domains.md has them."""
    held = {(r.scope, r.spec, r.metric): r for r in run.records}
    titles = ("domain", "size", "core alone", "with the module", "a network of its own", "difference", "bytes")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for name in DOMAINS[study]:
        for size in SIZES:
            spec = run.settings["points"][size]
            metric = "span_f1" if (f"{name} module", spec, "span_f1") in held else "accuracy"
            cells = [held.get((f"{name} {scope}", spec, metric)) for scope in ("plain", "module", "alone")]
            if cells[1] is None:
                continue
            difference = held[f"{name} module beside alone", spec, "difference"]
            bytes_ = held.get((f"{name} module", spec, "bytes"))
            told = [f"{100 * cell.value:.1f}%" if cell else "-" for cell in cells]
            spread = f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
            told += [spread, f"{100 * bytes_.value:.1f}%" if bytes_ else ""]
            lines.append(f"| {name} | {size} | {' | '.join(told)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("what", choices=("train", "measure", "table"))
    parser.add_argument("part", choices=("held", "test"), nargs="?", default="held")
    parser.add_argument("--domains", nargs="*", default=[])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    if asked.what == "table":
        print(table(asked.study, read_run(newest(asked.study))))
        return
    study, family = STUDIES[asked.study], ct.open(STUDIES[asked.study].file)
    core = the_core("resnet20") if asked.study == "images" else family.core
    domains = {name: DOMAINS[asked.study][name](core) for name in asked.domains or DOMAINS[asked.study]}
    if asked.what == "train":
        for domain in domains.values():
            train(family, study, domain)
        return
    records: list[Record] = []
    for domain in domains.values():
        records += measure(family, study, domain, asked.part)
    own = None
    if asked.study == "images":
        family.route_base(few(opened(core, "cifar10-train.parquet"), 2000))
        own = opened(core, f"cifar10-test.npz@part={'calibration' if asked.part == 'held' else 'test'}")
    records += routing(family, domains, own, asked.part)
    records += switching(family)
    settings: dict[str, Any] = {
        "part": asked.part,
        "kind": study.kind,
        "options": str(study.options),
        "epochs": study.epochs,
    }
    settings["points"] = {point.name: point.spec.text for point in family.points}
    run = new_run(f"domains-{asked.study}", records, settings=settings | {"samples": study.samples})
    say(f"wrote {write_run(HERE / 'results', run).name}")


if __name__ == "__main__":
    main()
