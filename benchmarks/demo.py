"""Run the demo, keep its Records as a run file, its plot as a picture, and its tables in the README.

Run: python benchmarks/demo.py            (about a minute)
     python benchmarks/demo.py --readme   (only write the README's tables again, from the newest run file)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import concertina as ct
from concertina.family.rivals import RIVALS, TRAINING_MACS
from concertina.measure.runs import Run, new_run, read_run, write_run
from concertina.report import pareto_svg, report_data
from concertina.types import Record

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PICTURE, README = ROOT / "benchmarks" / "results", ROOT / "docs" / "pictures" / "demo.svg", ROOT / "README.md"
BEGIN, END = "<!-- demo: written by benchmarks/demo.py -->", "<!-- demo: end -->"


def newest() -> Path:
    """Return the newest run file of the demo."""
    return max(RESULTS.glob("demo_*.json"), key=lambda path: path.name.rpartition("_")[2])


def run_demo() -> Path:
    """Run `concertina demo`, and return the run file made from the artifact it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "concertina", "demo", "-o", folder], check=True)
        family = ct.open(Path(folder) / "digits.concertina")
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(pareto_svg(report_data(family, "Digits")), encoding="utf-8")
        size = (Path(folder) / "digits.concertina").stat().st_size
    points = [{"name": p.name, "spec": p.spec.text, "share": p.share} for p in family.points]
    settings = {"command": "concertina demo", "points": points, "file_bytes": size, **family.evidence.provenance}
    return write_run(RESULTS, new_run("demo", family.records, seed=0, settings=settings))


def readme_block(run: Run, name: str) -> str:
    """Return the README's part about the demo, every figure from `run`."""
    lines = [
        f"| point | MACs | parameters | bytes | accuracy | worst class | {' | '.join(RIVALS)} |",
        f"|{'---|' * (6 + len(RIVALS))}",
    ]
    for point in run.settings["points"]:
        mine = [record for record in run.records if record.spec == point["spec"]]
        cells = [
            point["name"],
            f"{value(mine, 'macs'):,.0f} ({point['share']:.1%})",
            f"{value(mine, 'params'):,.0f}",
            f"{value(mine, 'size_bytes'):,.0f}",
            f"{value(mine, 'accuracy'):.1%}",
            f"{value(mine, 'worst_class_recall'):.1%}",
            *(shown(mine, rival) for rival in RIVALS),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    core = [record for record in run.records if record.spec == "core"]
    n = next(record.n for record in core if record.metric == "accuracy")
    whole = sum(float(run.settings.get(f"{part} MACs", 0)) for part in ("training", "rehearsal"))
    alone = [record.value for record in run.records if record.metric == TRAINING_MACS]
    lines += [
        "",
        "A rival has the MACs of its point or less. The untuned ones are not trained after the cut. Each network tuned "
        "alone gets as many epochs for itself as the family for all sizes together, with the same batches and learning "
        f"rate, and the core teaches it too: {sum(alone):.2g} MACs of training for those {len(alone)} networks, "
        f"{whole:.2g} for the family.",
        "",
        f"Accuracy on {n} held-out digits (the core itself: {value(core, 'accuracy'):.1%}); all points lie in one file "
        f"of {run.settings['file_bytes']:,} bytes.",
        f"Intervals, latencies and machine: [{name}](benchmarks/results/{name}), made by `python benchmarks/demo.py`.",
    ]
    return "\n".join(lines)


def shown(records: list[Record], rival: str) -> str:
    """Return a rival's accuracy; a dash where there is no such rival."""
    there = any(record.scope == rival for record in records)
    return f"{value(records, 'accuracy', rival):.1%}" if there else "-"


def value(records: list[Record], metric: str, scope: str = "") -> float:
    """Return the value of one figure."""
    return next(record.value for record in records if record.metric == metric and record.scope == scope)


def with_block(readme: str, block: str) -> str:
    """Return the README with its demo part replaced."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def main() -> None:
    """Run what was asked for."""
    path = newest() if "--readme" in sys.argv[1:] else run_demo()
    for old in RESULTS.glob("demo_*.json"):
        if old != path:
            old.unlink()
    README.write_text(
        with_block(README.read_text(encoding="utf-8"), readme_block(read_run(path), path.name)), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
