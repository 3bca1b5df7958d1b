"""Attributes taken out on demand: what fresh probes still read, and each group's accuracy before and after.

Run: python benchmarks/debias.py test                 (adult and compas, once: some minutes)
     python benchmarks/debias.py ways                 (ways of removal on held-out rows of adult's training part)

`test`: for each table one module for each attribute, the second trained to be used beside the first too; probes learn
from training rows and are asked on `split=test`, three of them, at half and at full size, without modules, with each,
and with both. What was chosen (ways, penalty, steps) was chosen on rows held out of the training part.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tables import DATA, HERE, family_of, parts

import concertina as ct
from concertina.measure.runs import Run, new_run, read_run, write_run
from concertina.types import Record

CASES: dict[str, dict[str, tuple[str, ...]]] = {
    "adult": {"sex": ("Female", "Male"), "race": ("White", "Black")},
    "compas": {"race": ("African-American", "Caucasian"), "sex": ("Female", "Male")},
}
"""Table -> attribute -> the values that count."""
WAYS: dict[str, dict[str, Any]] = {
    "hsic": {"by": ("hsic",)},
    "adversary": {"by": ("adversary",)},
    "both": {},
    "both, penalty 3": {"options": {"penalty": 3.0}},
}


def case(name: str) -> list[Record]:
    """Return all figures of a table on its test rows."""
    data, held = parts(name)
    family = family_of(name, data, held)
    asked = ct.open_table(DATA / f"{name}.parquet@split=test", data.columns)
    found: list[Record] = []
    made: list[str] = []
    for attribute, values in CASES[name].items():
        module = f"no {attribute}"
        result = family.debias(module, data, asked, attribute=attribute, values=values, beside=tuple(made))
        found += [*result.records, *size_of(module, result)]
        made.append(module)
        print(name, attribute, *result.warnings, sep="\n", flush=True)
    for attribute, values in CASES[name].items():
        found += family.probe(data, asked, attribute=attribute, values=values, modules=[f"-{name}" for name in made])
    return named(found, family, name)


def size_of(module: str, result: Any) -> list[Record]:
    changed, among = result.differing
    scope = f"module {module}"
    return [
        Record("", "size_bytes", result.size_bytes, "bytes", scope=scope),
        Record("", "values_changed", changed / among, "share", among, scope=scope),
    ]


def ways() -> list[Record]:
    """Return what several ways leave of sex in adult's representation, on held-out training rows."""
    data, held = parts("adult")
    found: list[Record] = []
    for way, options in WAYS.items():
        family = family_of("adult", data, held)
        result = family.debias("no sex", data, held, attribute="sex", **options)
        found += [replace(r, scope=f"{way} {r.scope}") for r in (*result.records, *size_of("no sex", result))]
        print(way, [f"{r.value:.3f}" for r in result.records if r.metric.startswith("probe")], flush=True)
        found[:] = named(found, family, "adult")
    return found


def named(records: list[Record], family: ct.Family, table: str) -> list[Record]:
    """Return records whose specs are names of points, and whose scopes begin with the table."""
    names = {point.spec.text: point.name for point in family.points}
    prefix = f"{table} "
    return [replace(r, spec=names.get(r.spec, r.spec), scope=prefix + r.scope.removeprefix(prefix)) for r in records]


def newest(what: str = "test") -> Path:
    """Return the newest run file of that kind."""
    return max((HERE / "results").glob(f"debias-{what}_*.json"), key=lambda path: read_run(path).date)


def table(run: Run) -> str:
    """Return the figures of the test rows as a Markdown table, a line for each table, attribute and size."""
    lines = [
        "| table | attribute | point | probe before | with its module | with both | accuracy before | with its module "
        "| groups' accuracy with its module, and the change |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join((*lines, *(line for name in CASES for line in _lines(run, name))))


def _lines(run: Run, name: str) -> Iterator[str]:
    found = {(r.scope.strip(), r.spec, r.metric): r for r in run.records}
    both = f"{name} modules {', '.join(f'no {attribute}' for attribute in CASES[name])}"
    for attribute, values in CASES[name].items():
        own, probe = f"{name} module no {attribute}", f"probe[{attribute}]"
        for point in ("p50", "p100"):
            before, after, together = (_told(found[scope, point, probe]) for scope in (name, own, both))
            groups = []
            for value in values:
                right = found[own, point, f"accuracy[{attribute}={value}]"]
                change = found[own, point, f"accuracy_change[{attribute}={value}]"]
                groups.append(f"{value} {right.value:.3f} ({change.value:+.3f})")
            plain, with_it = (found[scope, point, "accuracy"].value for scope in (name, own))
            cells = [
                name,
                attribute,
                point,
                before,
                after,
                together,
                f"{plain:.3f}",
                f"{with_it:.3f}",
                ", ".join(groups),
            ]
            yield f"| {' | '.join(cells)} |"


def _told(record: Record) -> str:
    return f"{record.value:.3f} ({record.low:.3f} to {min(1.0, record.high or 0.0):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("test", "ways"))
    asked = parser.parse_args()
    records = ways() if asked.what == "ways" else [record for name in CASES for record in case(name)]
    for record in records:
        ends = f" ({record.low:.3f} to {record.high:.3f})" if record.low is not None and record.high is not None else ""
        print(f"{record.scope.strip()} {record.spec} {record.metric}: {record.value:.4f}{ends}")
    print(write_run(HERE / "results", new_run(f"debias-{asked.what}", records, seed=0, settings=vars(asked))))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
