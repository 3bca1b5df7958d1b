"""One run: prepare the families, measure every theme, keep the figures, tell them as Markdown."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from concertina.bench.base import FULL, QUICK, THEMES, Subject, Theme, markdown
from concertina.bench.exported import installed
from concertina.bench.figures import Figures, Place
from concertina.bench.subjects import FromFile, Source, job_of
from concertina.bench.verdicts import rows
from concertina.measure.runs import Run, new_run
from concertina.train import Reporter

RUN_THEME = "bench"
FIRST = "quality"
"""The theme that is told before the others."""
TITLES = ("what", "bar", "found", "control", "verdict")


def run_bench(
    source: Source | FromFile,
    *,
    quick: bool,
    themes: Sequence[str] = (),
    progress: Reporter | None = None,
    command: str = "",
) -> Run:
    """Measure the themes on this machine and return the run.

    Args:
        source: What is trained and how, or a family file.
        quick: Short measurements, and no rivals that have to be trained.
        themes: Names in `THEMES`; all unless said.
        progress: Told now and then where it stands.
        command: What was typed, to be kept in the run.

    Raises:
        UnknownNameError: No such theme.
        ConcertinaError: The file or the data cannot be used; the text says what to do.
    """
    names = tuple(themes) or tuple(sorted(THEMES.names(), key=lambda name: (name != FIRST, name)))
    chosen = [THEMES.get(name)() for name in names]
    tell = progress or (lambda _stage, _done: None)
    with tempfile.TemporaryDirectory(prefix="concertina-bench-", ignore_cleanup_errors=True) as folder:
        job = job_of(source, QUICK if quick else FULL, Path(folder), tell)
        records = [record for theme in chosen for record in theme.measure(job)]
    settings = {
        "command": command,
        "quick": quick,
        "themes": list(names),
        "subjects": [{"name": subject.name, "points": _points(subject)} for subject in job.subjects],
        "made with": dict(job.subjects[0].family.evidence.provenance),
        "runtimes": installed(),
    }
    return new_run(RUN_THEME, records, seed=0, settings=settings)


def told(run: Run) -> str:
    """Return the Markdown of a run: what was to be reached and whether it was, then a table a theme.

    Args:
        run: What `run_bench` returned, or the same read from its file.

    Raises:
        UnknownNameError: The run has a theme that this release does not know.
    """
    figures, found = figures_of(run), reached(run)
    lines = ["### What was to be reached", "", *markdown(TITLES, found), ""] if found else []
    for theme in _themes(run):
        table = theme.lines(figures)
        lines += [f"### {theme.title}", "", *(table or ["Not measured: there is no data for it."]), ""]
    return "\n".join([*lines, f"{run.machine}; {run.versions}; {run.date}."])


def reached(run: Run) -> list[tuple[str, ...]]:
    """Return what was to be reached in a run, a row each: what, the bar, what was found, its control, the verdict.

    Args:
        run: As for `told`; errors as there.
    """
    figures = figures_of(run)
    return rows(bar for theme in _themes(run) for bar in theme.bars(figures))


def _themes(run: Run) -> list[Theme]:
    return [THEMES.get(name)() for name in run.settings["themes"]]


def figures_of(run: Run) -> Figures:
    """Return the figures of a run for the themes."""
    places = {
        subject["name"]: [Place(one["name"], one["share"], one["spec"]) for one in subject["points"]]
        for subject in run.settings["subjects"]
    }
    return Figures(run.records, places, run.settings["runtimes"])


def _points(subject: Subject) -> list[dict[str, Any]]:
    """Return the points as tables call them."""
    return [
        {"name": point.name, "share": point.share, "macs": point.macs, "spec": point.spec.text}
        for point in subject.family.points
    ]
