"""How many real evaluations a search takes: the guided strategy beside plain NSGA-II and random search.

Run: python benchmarks/search.py digits        (about half an hour on a quiet core, five seeds; stopped, it goes on)
     python benchmarks/search.py resnet20      (the committed family on 1,000 images of `part=calibration`; hours)

Each strategy is judged by the hypervolume of accuracy against MACs (MACs on a log axis, from the smallest subnet to
the full one; accuracy above 80% of the full subnet's). The hypervolume to reach was fixed before any run: 97% of that
of the best front known from all runs together; 95% and 90% are told too. Evaluations of all kinds count: the opening,
and those that the predictor learns from. A strategy does not know the accuracy of any subnet beforehand. `guided`
begins with the operating points, which plain NSGA-II and random search do not know of; so random search is judged once
more with that opening before it.

The digits family is trained here on the operating points and on random specs of the whole space: on the points alone,
subnets between them are worth nothing (`--family FILE` takes another one).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

import concertina as ct
from concertina.cli.demo import POINTS
from concertina.load.data import TensorData
from concertina.measure.runs import new_run, write_run
from concertina.search import STRATEGIES, Area, Goal, Journal, Problem, Study, Trial
from concertina.search.evaluate import evaluator
from concertina.types import Record, SubnetSpec

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
FIXED = (0.97, 0.95, 0.9)
"""Shares of the best hypervolume known; the first is the bar."""
BUDGETS = {"guided": 120, "random": 320, "nsga2": 640}
"""Evaluations after which a strategy gives up."""
SHOWN = (20, 40, 60, 80, 120, 240, 320, 640)
HEAD_START = "random after the opening of guided"
"""Random search that is given what `guided` begins with: the operating points, prefixes and a few drawn specs."""
WORTH = 0.8
"""Accuracy counts above this share of the full subnet's."""
SETTINGS = {"epochs": 24.0, "batch_size": 64, "learning_rate": 0.08, "clip_norm": 2.0, "random_specs": 2}
"""How the digits family is trained: random specs of the whole space beside the points."""


@dataclass
class Table:
    """True evaluations, each made once and kept in a file."""

    family: ct.Family
    parts: tuple[TensorData, TensorData]
    path: Path
    samples: int = 100_000
    known: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            self.known = json.loads(self.path.read_text(encoding="utf-8"))
        self._measure = evaluator(self.family.supernet, self.family.task, self.parts, (512, self.samples), 0)

    def values(self, specs: Sequence[SubnetSpec]) -> Iterator[float]:
        for spec in specs:
            if spec.text not in self.known:
                self.known[spec.text] = self._measure(spec)
            yield self.known[spec.text]

    def keep(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.known), encoding="utf-8")


def digits(asked: argparse.Namespace) -> Table:
    core = ct.load("zoo:digits-cnn")
    train, validation, test = (
        ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess) for part in ("train", "validation", "test")
    )
    held = TensorData([torch.cat(pair) for pair in zip(validation.tensors, test.tensors, strict=True)])
    path = asked.family or asked.cache / "digits-whole-space.concertina"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        ct.fit(core, train, test, points=POINTS, **SETTINGS).save(path)
    family = ct.open(path)
    print(family.points)
    return Table(family, (train, held), asked.cache / f"{path.stem}.json")


def resnet20(asked: argparse.Namespace) -> Table:
    path = asked.family or HERE / "artifacts" / "resnet20.concertina"
    family = ct.open(path)
    opened = {"preprocess": family.core.preprocess, "class_names": family.core.class_names}
    data = ct.open_data(f"{DATA / 'cifar10-test.npz'}@part=calibration", **opened)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    parts = (data.subset(order[:1000]), data.subset(order[1000:2000]))
    return Table(family, parts, asked.cache / f"{path.stem}.json", samples=1000)


def problem_of(table: Table, seed: int) -> Problem:
    family = table.family
    goal = Goal(family.task.metric, "macs", family.supernet.costs.macs)
    return Problem(family.supernet.order, goal, tuple(point.spec for point in family.points), seed)


def searched(table: Table, strategy: str, seed: int, trials: int) -> list[Trial]:
    """Return the trials of one search; they are kept beside the table, so that a run that was stopped goes on."""
    problem = problem_of(table, seed)
    kept = table.path.with_name(f"{table.path.stem}-{strategy}-{seed}.search")
    study = Study(STRATEGIES.get(strategy)(problem), Journal(kept, {"seed": seed}, resume=True))
    study.run(table.values, trials, lambda _stage, _done: None)
    return study.trials[:trials]


def reached(curve: Sequence[float], wanted: float) -> int | None:
    """Return how many evaluations a curve takes to reach a hypervolume."""
    return next((done + 1 for done, area in enumerate(curve) if area >= wanted), None)


def median(counts: Sequence[int | None], budget: int) -> str:
    """Return the median, "more than" the budget where half of the runs did not get there."""
    middle = statistics.median(budget + 1 if count is None else count for count in counts)
    return f"> {budget}" if middle > budget else f"{middle:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("digits", "resnet20"))
    parser.add_argument("--family", type=Path, help="Another family of the network.")
    parser.add_argument("--cache", type=Path, default=Path("runs"), help="Folder for the family and its evaluations.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="First seed; ways of searching were chosen on 10 and up.")
    parser.add_argument("--strategies", default="guided,random,nsga2")
    parser.add_argument("--trials", default="", help="Evaluations of each run, one number or one for each strategy.")
    parser.add_argument("--dry", action="store_true", help="Write no run file.")
    asked = parser.parse_args()
    table = {"digits": digits, "resnet20": resnet20}[asked.network](asked)
    names = asked.strategies.split(",")
    given = [int(count) for count in asked.trials.split(",")] if asked.trials else [BUDGETS[name] for name in names]
    budgets = dict(zip(names, given * (len(names) if len(given) == 1 else 1), strict=True))
    runs: dict[str, list[list[Trial]]] = {}
    for name, budget in budgets.items():
        for seed in range(asked.first, asked.first + asked.seeds):
            runs.setdefault(name, []).append(searched(table, name, seed, budget))
            table.keep()
            print(name, seed, len(table.known), flush=True)
    if {"guided", "random"} <= runs.keys():
        opening = len(STRATEGIES.get("guided")(problem_of(table, asked.first)).propose((), 4))
        both = zip(runs["guided"], runs["random"], strict=True)
        runs[HEAD_START] = [guided[:opening] + drawn for guided, drawn in both]
        budgets[HEAD_START] = budgets["random"] + opening
    report(asked, table, budgets, runs)


def report(
    asked: argparse.Namespace, table: Table, budgets: dict[str, int], runs: dict[str, list[list[Trial]]]
) -> None:
    """Print the Markdown table and write the run file."""
    supernet = table.family.supernet
    space, macs = supernet.space, supernet.costs.macs
    (full,) = table.values([space.full])
    area = Area(macs(space.smallest), macs(space.full), WORTH * full)
    best = area.covered([trial for found in runs.values() for trials in found for trial in trials])
    curves = {
        name: [[area.covered(trials[: i + 1]) / best for i in range(len(trials))] for trials in found]
        for name, found in runs.items()
    }
    records = []
    lines = [f"| strategy | {' | '.join(f'evaluations to {share:.0%}' for share in FIXED)} | "]
    lines[0] += " | ".join(f"hypervolume at {shown}" for shown in SHOWN) + " |"
    lines.append("|---" * (1 + len(FIXED) + len(SHOWN)) + "|")
    for name, found in curves.items():
        cells = []
        for share in FIXED:
            counts = [reached(curve, share) for curve in found]
            cells.append(f"{median(counts, budgets[name])} ({', '.join(str(c or '-') for c in counts)})")
            records += [
                Record(
                    "",
                    f"evaluations_to_{share:.0%}",
                    math.nan if c is None else c,
                    "evaluations",
                    1,
                    None,
                    None,
                    seed,
                    name,
                )
                for seed, c in enumerate(counts, asked.first)
            ]
        for shown in SHOWN:
            reach = [curve[shown - 1] for curve in found if len(curve) >= shown]
            cells.append(f"{statistics.median(reach):.3f}" if reach else "-")
            records += [
                Record("", f"hypervolume_at_{shown}", at, "share", 1, None, None, seed, name)
                for seed, at in enumerate(reach, asked.first)
            ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    print("\n" + "\n".join(lines) + "\n")
    settings = {
        "network": table.family.core.source,
        "best hypervolume": best,
        "true evaluations": len(table.known),
        "held-out samples": len(table.parts[1]),
        "budgets": budgets,
        "fixed shares": FIXED,
        "provenance": dict(table.family.evidence.provenance),
    }
    if not asked.dry:
        print(write_run(HERE / "results", new_run(f"search-{asked.network}", records, settings=settings)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
