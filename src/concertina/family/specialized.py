"""A family for some classes, made with data of them: candidates are adapted alike, and the measured best is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from concertina.errors import AnalysisError, DataError, InputError, did_you_mean, some
from concertina.family.class_choice import (
    AS_IT_WAS,
    GENERAL,
    OWN,
    RECIPE,
    Choice,
    Lessons,
    candidates,
    choice,
    correctness,
    difference,
)
from concertina.family.class_order import free_copy
from concertina.family.class_scores import BATCH as SCORE_BATCH
from concertina.family.class_scores import check_samples, rate_classes
from concertina.family.finish import measure_family
from concertina.family.given import taken
from concertina.family.options import train_settings
from concertina.family.outputs import task_for
from concertina.family.samples import sample_of
from concertina.family.subset import family_for, for_classes
from concertina.load.data import ArrayData, batches, is_part
from concertina.nest import Supernet, graph_of
from concertina.objective.base import Task
from concertina.score import check_by_class, score
from concertina.train import Reporter, TrainSettings, num_steps
from concertina.types import Core, Record, Scores

if TYPE_CHECKING:
    from concertina.family.family import Family

SOURCES = ("measured", "stored")
CRITERIA = ("relevance", "hessian")
"""What makes a unit important for classes unless said: the first, or the second where a layer has no rule for it."""
SCORE_SAMPLES = 512
HELD_SHARE = 5
"""One of so many samples of each class is held out where no held-out data is given."""


class ClassOptions(TypedDict, total=False):
    """Options of `Family.for_classes` with data."""

    epochs: float
    """Passes over the data of the classes; 0, the default, only calibrates."""
    batch_size: int
    learning_rate: float
    seed: int
    device: str
    criterion: str
    """What makes a unit important for the classes, a criterion that reads data: "relevance", or "hessian" where the
    network has layers that relevance cannot pass."""
    scores: str
    """Where the own order comes from: "measured" on the data, or "stored" scores by class of the family."""
    progress: Reporter | None
    """Told now and then where the work stands."""


def check_class_options(options: ClassOptions, *, has_data: bool) -> TrainSettings:
    """Return how candidates are trained, once the options are seen to be sound.

    Raises:
        InputError: An option is unknown, out of range, or needs data that is not given.
        UnknownNameError: No such criterion.
    """
    known = [*ClassOptions.__annotations__]
    for name in options:
        if name not in known:
            raise InputError("unknown option", asked=repr(name), allowed=some(known), do=did_you_mean(name, known))
    if options and not has_data:
        asked, do = "without data", "Give data=, labelled samples of the classes."
        raise InputError(f"option {next(iter(options))}", asked=asked, allowed="with data", do=do)
    if options.get("scores", "measured") not in SOURCES:
        raise InputError("option scores", asked=repr(options["scores"]), allowed=", ".join(SOURCES))
    if "criterion" in options:
        if options.get("scores") == "stored":
            raise InputError("option criterion", asked="with stored scores", allowed="with measured ones")
        check_by_class(options["criterion"])
    usual = {"epochs": 0.0, "learning_rate": 0.02, "batch_size": 64}
    chosen: Any = usual | {name: value for name, value in options.items() if name in TrainSettings.__dataclass_fields__}
    return train_settings(chosen)


def specialized(
    family: Family, classes: Sequence[str], *, other: bool, data: Any, held: Any, options: ClassOptions
) -> Family:
    """Return a family for some classes, adapted to data of them; see `Family.for_classes`."""
    settings = check_class_options(options, has_data=True)
    cut, facts = family_for(family, classes, other=other)
    if options.get("scores") == "stored" and family.class_scores is None:
        do = "Fit it with class_scores=True (--class-scores), or take measured scores."
        raise InputError("scores by class", asked="a family without", allowed="one that keeps them", do=do)
    core = replace(family.core, **facts)
    lessons = _lessons(family, core, task_for(core, cut.space), (data, held), settings, options.get("progress"))
    scores = scores_for(family, core, cut, lessons, options)
    made = candidates(core, cut, scores, lessons)
    right = {name: correctness(core, supernet, lessons) for name, supernet in made.supernets.items()}
    found = choice(right, made.before)
    cut_only = for_classes(family, classes, other=other)
    told = {**cut_only.evidence.provenance, **_told(lessons, scores, found, family)}
    chosen = type(family)(core, made.supernets[found.name], evidence=replace(cut_only.evidence, provenance=told))
    measure_family(chosen, None, lessons.held, progress=lessons.progress, seed=settings.seed)
    chosen.add_records(_compared(chosen, found, lessons))
    return chosen


def _lessons(
    family: Family, core: Core, task: Task, given: tuple[Any, Any], settings: TrainSettings, progress: Reporter | None
) -> Lessons:
    """Return the data of the classes, and what is held out of it where nothing else is given."""
    data, held = (None if one is None else data_of_classes(one, family, core.class_names) for one in given)
    if data is None:
        raise DataError("data of the classes", asked="None", allowed="labelled samples")
    if held is None:
        held, data = _split(data, settings.seed)
    elif held.fingerprint == data.fingerprint:
        raise DataError("held-out data", asked="the data itself", allowed="other samples, or none given")
    return Lessons(task, data, held, settings, progress)


def data_of_classes(source: Any, family: Family, wanted: Sequence[str]) -> ArrayData:
    """Return labelled data of some classes, numbered in their order.

    Args:
        source: Data labelled by those classes, or by all of the family's; without class names, by the numbers of these.
        family: The whole family.
        wanted: Names of the classes, the last maybe "other".

    Raises:
        DataError: It does not fit the network, has no labels, names other classes, or lacks samples of a class.
    """
    data = taken(source, family.core, family.task)
    if not isinstance(data, ArrayData):
        raise DataError("data of the classes", asked=f"{len(data.tensors)} fields", allowed="inputs and a class each")
    names, whole = data.class_names or family.core.class_names, family.core.class_names
    if tuple(names) != tuple(wanted):
        if not set(names) <= set(whole) or not (set(names) >= set(wanted) or is_part(wanted, names)):
            allowed = f"those of the family ({some(whole)}) or those chosen"
            raise DataError("classes of the data", asked=some(names), allowed=allowed)
        named = ArrayData(data.tensors, names)
        named.source, named.origin = data.source, data.origin
        data = named.for_classes(wanted) if is_part(wanted, names) else _renumbered(named, wanted)
    check_samples(data, wanted)
    return data


def _renumbered(data: ArrayData, wanted: Sequence[str]) -> ArrayData:
    numbers = torch.tensor([list(wanted).index(name) for name in data.class_names])
    made = ArrayData([data.inputs, numbers[data.labels]], wanted)
    made.source, made.origin = data.source, data.origin or data.fingerprint
    return made


def _split(data: ArrayData, seed: int) -> tuple[ArrayData, ArrayData]:
    """Return what is held out, one of `HELD_SHARE` samples of each class, and the rest."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    held, rest = [], []
    for label, name in enumerate(data.class_names):
        own = order[data.labels[order] == label]
        if len(own) < 2:
            asked, do = f"{len(own)} of {name!r}", "Give held-out data as well."
            raise DataError("samples to hold some out of", asked=asked, allowed="2 or more of each class", do=do)
        count = -(-len(own) // HELD_SHARE)
        held.append(own[:count])
        rest.append(own[count:])
    parts = [data.subset(torch.cat(each)) for each in (held, rest)]
    for part in parts:
        part.origin = data.origin or data.fingerprint
    return parts[0], parts[1]


def scores_for(family: Family, core: Core, cut: Supernet, lessons: Lessons, options: ClassOptions) -> Scores:
    """Return how important units are for the classes, by scores by class of the whole family, stored or measured.

    The loss is that among all classes there were: among few a good network's is near zero, and says little. Only where
    an output stands for all other classes it is that of the outputs chosen.
    """
    wanted, whole = core.class_names, family.core.class_names
    if options.get("scores") == "stored" and family.class_scores is not None:
        return family.class_scores.of([name for name in wanted if name in whole])
    if "criterion" in options:
        return _measured(family, core, cut, lessons, options["criterion"])
    try:
        return _measured(family, core, cut, lessons, CRITERIA[0])
    except AnalysisError:
        return _measured(family, core, cut, lessons, CRITERIA[1])


def _measured(family: Family, core: Core, cut: Supernet, lessons: Lessons, criterion: str) -> Scores:
    wanted, whole, seed = core.class_names, family.core.class_names, lessons.settings.seed
    if set(wanted) <= set(whole):
        labels = torch.tensor([whole.index(name) for name in wanted])[lessons.data.labels]
        data, progress = ArrayData([lessons.data.inputs, labels], whole), lessons.progress
        found = rate_classes(
            family.core, family.supernet, family.task, data, criterion=criterion, seed=seed, progress=progress
        )
        return found.of(wanted)
    sample = list(batches(sample_of(lessons.data, SCORE_SAMPLES, seed), SCORE_BATCH))
    network = replace(core, module=free_copy(cut))
    return score(network, graph_of(cut.space), lessons.task, sample, criterion=criterion, seed=seed)


def _told(lessons: Lessons, scores: Scores, found: Choice, family: Family) -> dict[str, str]:
    """Return for the provenance what was compared, what was taken, and what data the family has seen."""
    when = "; with statistics alone, and so not trained" if found.dropped else ""
    told = {
        "for the classes": found.name,
        "own order minus the other": f"{found.own} (by {scores.criterion}{when})",
        "adapted minus as it was": str(found.adapted),
    }
    if found.name == AS_IT_WAS:
        return told
    settings, data = lessons.settings, lessons.data
    seen = f"{data.label}; fingerprint {data.origin or data.fingerprint}"
    before = family.evidence.provenance.get("training data before")
    steps = num_steps(data, settings) if settings.epochs else 0
    how = f"{steps} steps of {RECIPE}, {settings.epochs:g} epochs, learning rate {settings.learning_rate:g}"
    how = f"{how}, seed {settings.seed}" if steps else "statistics alone"
    return told | {"adapted by": how, "training data before": f"{before} | {seen}" if before else seen}


def _compared(chosen: Family, found: Choice, lessons: Lessons) -> list[Record]:
    """Return, for each point, by how much the own order is ahead of the general one, adapted alike."""
    records = []
    for point in chosen.points:
        if point.name in found.rows[OWN]:
            one, other = ({point.name: found.rows[name][point.name]} for name in (OWN, GENERAL))
            each = difference(one, other)
            figures = (each.value, "share", each.n, each.low, each.high)
            records.append(Record(point.spec.text, "own_order_minus_general", *figures, data=lessons.held.fingerprint))
    return records
