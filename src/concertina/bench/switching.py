"""Switching from size to size at run time: a view of what is there, beside loading another network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

import concertina.family.opening as opening
from concertina.bench.base import THEMES, Job, Subject, Theme, markdown
from concertina.bench.byhand import build_anew
from concertina.bench.figures import FAMILY, Figures, in_doubt, scope
from concertina.bench.verdicts import SET_FOR, Bar, faster
from concertina.measure.intervals import median_interval, quantile
from concertina.measure.latency import MAX_WAIT_SHARE, UNGATED, UNRESOLVED
from concertina.measure.machine import machine_fingerprint, versions
from concertina.measure.probe import Probe, Sample, take_sample
from concertina.nest import materialize
from concertina.types import Point, Record

AGAIN = "this family, the same point again"
STATE, SAFETENSORS = "layers built by hand, then torch.load", "layers built by hand, then safetensors"
"""Putting the layers together is not counted, only making them and loading their tensors."""
LIMITS_MS = {FAMILY: 30.0, AGAIN: 1.0}
"""How long a switch may take, on a ResNet-56."""


@THEMES.register("switching", source="ours")
class SwitchingTheme(Theme):
    """Milliseconds until a network of another size can be called; files come from the page cache."""

    title = "Switching to another size: milliseconds until it can be called"

    def measure(self, job: Job) -> list[Record]:
        """Time the first and second call of `at` on families freshly opened, and the loading of separate files."""
        return [record for subject in job.subjects for record in _times(job, subject)]

    def lines(self, figures: Figures) -> Sequence[str]:
        """Return a row for each way, a column for each family: the median over points and repeats, and its ratio."""
        subjects = figures.subjects("switch_ms_median")
        rows = []
        for who in (FAMILY, AGAIN, STATE, SAFETENSORS):
            found = [figures.one("switch_ms_median", subject, who) for subject in subjects]
            first = [figures.one("switch_ms_median", subject, FAMILY) for subject in subjects]
            rows.append((who, *(_cell(*pair) for pair in zip(found, first, strict=True))))
        return markdown(("", *subjects), rows)

    def bars(self, figures: Figures) -> Sequence[Bar]:
        """Judge the median of the last family, the larger one."""
        bars = []
        for subject in figures.subjects("switch_ms_median")[-1:]:
            for who, most in LIMITS_MS.items():
                found = figures.one("switch_ms_median", subject, who)
                if found is not None:
                    verdict = faster(found, most, doubt=in_doubt(found))
                    what, told = f"{subject}: switching, {who}", f"{found.value:.3g} ms"
                    control = f"{found.n} samples" + (", none clean" if in_doubt(found) else "")
                    bars.append(
                        Bar(what, f"< {most:g} ms{SET_FOR}", told, verdict, most - found.value, control=control)
                    )
        return bars


@dataclass(frozen=True, eq=False)
class _Files:
    """A point's tensors in files of its own, and the network that they are loaded into."""

    state: Path
    tensors: Path
    shape: nn.Module


def _times(job: Job, subject: Subject) -> Iterator[Record]:
    taken: dict[str, list[Sample]] = {who: [] for who in (FAMILY, AGAIN, STATE, SAFETENSORS)}
    points = enumerate(subject.family.points)
    files = {point.name: _written(subject, point, job.folder / f"switch-{place}") for place, point in points}
    for turn in range(job.effort.repeats):
        job.tell(f"switching, {subject.name}", turn / job.effort.repeats)
        for who, sample in _one_turn(subject, files):
            taken[who].append(sample)
    for who, samples in taken.items():
        yield _median(samples, scope(subject.name, who))


def _one_turn(subject: Subject, files: dict[str, _Files]) -> Iterator[tuple[str, Sample]]:
    """Yield the times of all ways, point by point, on a family just opened."""
    family, probe = opening.open(subject.path, module=_own_module(subject)), Probe()
    for point in family.points:
        own, look = files[point.name], partial(family.at, point=point.name)
        for who in (FAMILY, AGAIN):
            yield who, take_sample(look, probe)
        yield STATE, take_sample(partial(_from_state, own), probe)
        yield SAFETENSORS, take_sample(partial(_from_safetensors, own), probe)


def _own_module(subject: Subject) -> nn.Module | None:
    """Return the network that a family was made from, where only its user can build that."""
    core = subject.family.core
    return core.module if core.source.startswith("module:") else None


def _median(samples: list[Sample], where: str) -> Record:
    """Return the median of the clean samples; of all, with a mark, where none is clean or nobody knows."""
    clean = [one.ms for one in samples if one.wait_share is not None and one.wait_share < MAX_WAIT_SHARE]
    known = any(one.wait_share is not None for one in samples)
    times = clean or [one.ms for one in samples]
    mark = "" if clean else f" {UNRESOLVED if known else UNGATED}"
    low, high = median_interval(times) or (None, None)
    record = Record("", "switch_ms_median", quantile(times, 0.5), "ms", len(times), low, high, scope=where + mark)
    return replace(record, machine=machine_fingerprint(), versions=versions())


def _written(subject: Subject, point: Point, path: Path) -> _Files:
    module = materialize(subject.family.view(point.name))
    state, tensors = (path.with_suffix(suffix) for suffix in (".pt", ".safetensors"))
    held = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.save(held, state)
    save_file(held, tensors)
    return _Files(state, tensors, module)


def _from_state(own: _Files) -> None:
    build_anew(own.shape)
    own.shape.load_state_dict(torch.load(own.state, weights_only=True))


def _from_safetensors(own: _Files) -> None:
    build_anew(own.shape)
    own.shape.load_state_dict(load_file(own.tensors))


def _cell(found: Record | None, first: Record | None) -> str:
    if found is None or first is None:
        return "-"
    return f"{found.value:.3g} ({found.value / first.value:.2g}x)" + (" (unresolved)" if in_doubt(found) else "")
