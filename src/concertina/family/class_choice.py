"""Which family is kept for some classes: candidates get the same lessons, and held-out samples decide."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from concertina.family.class_order import in_own_order, make_trainable
from concertina.family.finish import BATCH, calibrate_points
from concertina.load.data import ArrayData, batches
from concertina.measure.quality import evaluate
from concertina.nest import Supernet
from concertina.objective.base import Task
from concertina.objective.intervals import mean_interval
from concertina.train import Reporter, Trainer, TrainSettings, num_steps, train
from concertina.types import Core, Scores

AS_IT_WAS, GENERAL, OWN = "as it was", "general order", "own order"
"""The candidates: the points with their statistics as they were; adapted to the classes; in an order of their own."""
RECIPE = "sandwich"
Right = Mapping[str, Tensor]
"""Point name -> whether it is right on each held-out sample, (samples,) bool."""


@dataclass(frozen=True, eq=False)
class Lessons:
    """What candidates are adapted to and judged on."""

    task: Task
    data: ArrayData
    held: ArrayData
    settings: TrainSettings
    progress: Reporter | None = None


@dataclass(frozen=True)
class Difference:
    """How much more often one candidate is right than another, over all points below the full one."""

    value: float
    low: float
    high: float
    n: int
    """Samples; each counts with its mean over the points."""

    def __str__(self) -> str:
        value, low, high = (f"{100 * part:+.1f}" for part in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}] points of accuracy on {self.n} samples"


@dataclass(frozen=True, eq=False)
class Candidates:
    """The families to choose from, and what is already known of them."""

    supernets: dict[str, Supernet]
    before: dict[str, Right] = field(default_factory=dict)
    """Where the own order was dropped before training: what it and the general one were right about then."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The candidate that is kept, and why."""

    name: str
    adapted: Difference
    """The general order, adapted, against the points as they were."""
    own: Difference
    """The own order against the better of these; where it was dropped, against the general one before training."""
    rows: Mapping[str, Right]
    """What the own and the general order were right about when they were last compared."""
    dropped: bool
    """Whether the own order was certain to be behind before training, and was not trained."""


def candidates(core: Core, cut: Supernet, scores: Scores, lessons: Lessons) -> Candidates:
    """Return the families to choose from, all but the first adapted to the classes in the same way.

    Where there is training to come, an order of the classes' own that is certain to be behind with statistics alone is
    dropped, so that only one family is trained.

    Args:
        core: Facts of the network of the classes.
        cut: The family with its head cut to them; it is not changed.
        scores: Importance of its units for the classes.
        lessons: Data and settings.
    """
    made = {AS_IT_WAS: cut, GENERAL: copy.deepcopy(cut), OWN: in_own_order(core, cut, scores)}
    before: dict[str, Right] = {}
    for name in (GENERAL, OWN):
        adapt(core, made[name], replace(lessons, settings=replace(lessons.settings, epochs=0.0)), name)
    if lessons.settings.epochs > 0:
        before = {name: correctness(core, made[name], lessons) for name in (GENERAL, OWN)}
        if difference(before[OWN], before[GENERAL]).high < 0:
            del made[OWN]
        else:
            before = {}
        for name in list(made)[1:]:
            adapt(core, made[name], lessons, name)
    return Candidates(made, before)


def adapt(core: Core, supernet: Supernet, lessons: Lessons, name: str = "") -> None:
    """Train a family on data of the classes, where there are epochs, and give its points statistics of that data.

    The network is changed in place.
    """
    settings = lessons.settings
    if settings.epochs > 0:
        make_trainable(supernet, core.module)
        steps = num_steps(lessons.data, settings)
        trainer = Trainer(supernet, lessons.task, steps=steps, recipe=RECIPE, settings=settings)
        train(trainer, lessons.data, recipe=RECIPE, progress=named(lessons, name))
        supernet.to("cpu")
        supernet.module.eval()
    calibrate_points(supernet, lessons.task, lessons.data, named(lessons, name), full=settings.epochs > 0)


def correctness(core: Core, supernet: Supernet, lessons: Lessons) -> dict[str, Tensor]:
    """Return what points are right about on the held-out data; the full one, where no order matters, left out."""
    found = {}
    below = [name for name, point in supernet.points.items() if point.position != len(supernet.order)]
    below = below or list(supernet.points)
    for done, name in enumerate(below):
        tell(lessons, "comparing orders", done / len(below))
        module = supernet.at_point(name)
        rows = evaluate(module, lessons.task, batches(lessons.held, BATCH), spec="", data=core.fingerprint).rows
        found[name] = rows["correct"].bool()
    return found


def choice(right: Mapping[str, Right], before: Mapping[str, Right] | None = None) -> Choice:
    """Return the candidate to keep, and what each was found to differ by from the one it had to beat.

    Each candidate must be certainly ahead of the one before: the lower end of the interval is above 0. On the few
    samples of a few classes, taking what merely looks better makes points worse as often as better.

    Args:
        right: Candidate -> what it is right about.
        before: The own and the general order before training, where the own order was dropped then.
    """
    adapted = difference(right[GENERAL], right[AS_IT_WAS])
    best = GENERAL if adapted.low > 0 else AS_IT_WAS
    rows = before or right
    own = difference(rows[OWN], rows[GENERAL if before else best])
    return Choice(OWN if own.low > 0 and not before else best, adapted, own, rows, bool(before))


def difference(one: Right, other: Right) -> Difference:
    """Return the paired difference of two candidates over the points that both have."""
    rows = torch.stack([one[name].double() - other[name].double() for name in one if name in other]).mean(0)
    low, high = mean_interval(rows)
    return Difference(float(rows.mean()), low, high, len(rows))


def tell(lessons: Lessons, stage: str, done: float) -> None:
    """Report where the work stands, where somebody listens."""
    if lessons.progress is not None:
        lessons.progress(stage, done)


def named(lessons: Lessons, name: str) -> Reporter | None:
    """Return a reporter that tells which candidate a stage is of."""
    tell = lessons.progress
    return None if tell is None else (lambda stage, done: tell(f"{name}: {stage}" if name else stage, done))
