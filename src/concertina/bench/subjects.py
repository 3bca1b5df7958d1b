"""The families that are measured: one trained on the spot and a larger one, or that of a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from concertina.analyse import analyse
from concertina.bench.base import Effort, Job, Study, Subject, Tuning
from concertina.errors import ConcertinaError
from concertina.family import Family, fit
from concertina.family.given import say_missing_classes, taken
from concertina.family.opening import open as open_family
from concertina.family.options import FitOptions, train_settings
from concertina.load import load, open_data
from concertina.load.data import ArrayData
from concertina.nest import materialize
from concertina.train import Reporter
from concertina.types import Core

LARGE_POINTS = (0.125, 0.25, 0.476, 0.75, 1.0)
NOISE_SAMPLES = 32


@dataclass(frozen=True)
class Source:
    """A network of the zoo, its data, and how a family is made of it."""

    network: str
    train: str
    held: str
    points: Sequence[float]
    options: FitOptions


@dataclass(frozen=True, eq=False)
class FromFile:
    """A family file of the user's own."""

    path: Path
    data: Any = None
    """Held-out data to measure quality on: a text, or what `fit` takes; without, no quality is measured."""
    module: nn.Module | None = None
    """The network, for a family that was made from one of the user's own."""


def job_of(source: Source | FromFile, effort: Effort, folder: Path, tell: Reporter) -> Job:
    """Return everything that themes measure.

    Args:
        source: What families there are to be.
        effort: How much time there is.
        folder: Where files may be written.
        tell: Told now and then where the work stands.

    Raises:
        ConcertinaError: The file cannot be read, or the data does not fit.
    """
    if isinstance(source, FromFile):
        return _from_file(source, effort, folder, tell)
    trained, study = _trained(source, effort, folder, tell)
    return Job((trained, _large(effort.large, folder, tell)), study, effort, folder, tell)


def _trained(source: Source, effort: Effort, folder: Path, tell: Reporter) -> tuple[Subject, Study]:
    core = load(source.network)
    train, held = (
        open_data(text, preprocess=core.preprocess, class_names=core.class_names)
        for text in (source.train, source.held)
    )
    family = fit(core, train, points=source.points, progress=tell, **source.options)
    subject = _saved(source.network.removeprefix("zoo:"), family, folder)
    settings = replace(train_settings(source.options), full_from_core=1.0)
    graph = family.graph or analyse(core)
    tuning = Tuning(train, settings) if effort.tuned else None
    return subject, Study(held, core, core, graph, tuning)


def _large(name: str, folder: Path, tell: Reporter) -> Subject:
    """Return a larger family, never trained: its sizes and its structure are what is measured."""
    core = load(f"zoo:{name}", weights="random")
    generator = torch.Generator().manual_seed(0)
    shape, classes = core.example_inputs[0].shape[1:], len(core.class_names)
    inputs = torch.randn(NOISE_SAMPLES, *shape, generator=generator)
    noise = ArrayData((inputs, torch.arange(NOISE_SAMPLES) % classes), core.class_names)
    family = fit(core, noise, points=LARGE_POINTS, epochs=0, criterion="magnitude-l2", order="criterion", progress=tell)
    return _saved(name, family, folder)


def _saved(name: str, family: Family, folder: Path) -> Subject:
    path = folder / f"{name}.concertina"
    family.save(path)
    return Subject(name, family, path)


def _from_file(source: FromFile, effort: Effort, folder: Path, tell: Reporter) -> Job:
    family = open_family(source.path, module=source.module)
    subject = Subject(called(source.path), family, source.path)
    study = None
    if source.data is not None:
        held = held_for(source.data, family)
        core = _core_of(family)
        full = replace(family.core, module=materialize(family.view(family.points[-1].name)))
        base = core or full
        study = Study(held, core, base, analyse(base, progress=tell))
    return Job((subject,), study, effort, folder, tell)


def called(path: Path) -> str:
    """Return what figures call the family of a file: its name, in letters that stand in a scope and in a table."""
    return re.sub(r"[^\w.-]+", "-", path.stem).strip("-") or "family"


def held_for(data: Any, family: Family) -> Any:
    """Return held-out data for a family, opened where it is named by a text.

    Raises:
        DataError: It cannot be read, or does not fit.
    """
    core = family.core
    if isinstance(data, str):
        data = open_data(data, preprocess=core.preprocess, class_names=core.class_names)
    held = taken(data, core, family.task)
    say_missing_classes(held, core, "the data measured on")
    return held


def _core_of(family: Family) -> Core | None:
    """Return the core that a family was made from, where its weights come with the package."""
    try:
        core = load(family.core.source)
    except ConcertinaError:
        return None
    return core if core.fingerprint == family.core.fingerprint else None
