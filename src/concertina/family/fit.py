"""Fit: one pre-trained network and data in, a family out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack, cast

from concertina.analyse import analyse
from concertina.analyse.rewriting import as_loaded
from concertina.analyse.split_attention import with_split_attention
from concertina.family.class_scores import check_class_scores, rate_classes
from concertina.family.continued import check_start, core_as_teacher, facts_before, family_to_go_on
from concertina.family.evidence import Evidence
from concertina.family.factorizing import facts_of_factors
from concertina.family.family import Family
from concertina.family.finish import calibrate_points, measure_family
from concertina.family.given import check_augments, say_missing_classes, taken
from concertina.family.options import FitOptions, check_options, task_of, train_settings
from concertina.family.order import agreed_scores, put_in_order
from concertina.family.outputs import with_cut_outputs
from concertina.family.preparation import Preparation
from concertina.family.protecting import check_protection, check_supported, check_unseen, promised, weighted
from concertina.family.samples import balanced_sample, sample_of
from concertina.load.data import ArrayData, TensorData, batches
from concertina.measure.cost import CostModel
from concertina.measure.machine import machine_fingerprint, multiplies_bfloat16, versions
from concertina.nest import choose_points, graph_of, nest
from concertina.nest.supernet import check_shares
from concertina.objective.base import Task
from concertina.score import score
from concertina.train import (
    RECIPES,
    Ranks,
    Reporter,
    Trainer,
    TrainSettings,
    joined,
    labelled,
    num_steps,
    train,
)
from concertina.types import Core

log = logging.getLogger("concertina")

DEFAULT_POINTS = (0.1, 0.25, 0.5, 0.75, 1.0)
SCORE_SAMPLES = 1024
SCORE_BATCH = 32


def fit(
    core: Core,
    train_data: Any,
    validation: Any = None,
    *,
    points: Sequence[float] = DEFAULT_POINTS,
    progress: Reporter | None = None,
    **options: Unpack[FitOptions],
) -> Family:
    """Turn a pre-trained network into a family of nested networks.

    Started by torchrun, all processes train one family together, and each of them returns it.

    Args:
        core: The network, from `load`.
        train_data: A torch Dataset or an iterable of batches; tensors of shape (batch, ...).
        validation: The same kind, held out; without it nothing is measured but cost.
        points: Operating points as shares of the core's MACs; 1.0 is always among them.
        progress: Told now and then where the run stands.
        **options: See `FitOptions`: recipe="sandwich", criterion="taylor", epochs=4, seed=0, device="cpu",
            dtype="float32", checkpoint=, resume= and more. With start=, a family or its file, that family is trained
            further.

    Returns:
        The family, trained, calibrated and measured.

    Raises:
        ConcertinaError: Something in the network, data or options cannot be used; the text says what to do.
        RankError: Another of several processes failed; it has the error itself.
    """
    check_options(options, {"points": points, "progress": progress, "validation": validation})
    check_start(options, points_given=points is not DEFAULT_POINTS)
    with joined() as ranks:
        heard = progress if ranks.first else None
        return _fitted(core, train_data, validation, points, heard, options, ranks)


def _fitted(
    core: Core,
    train_data: Any,
    validation: Any,
    points: Sequence[float],
    progress: Reporter | None,
    options: FitOptions,
    ranks: Ranks,
) -> Family:
    """Do what `fit` does, in each of the processes."""
    started, settings = time.monotonic(), train_settings(options)
    check_shares(points)
    ranks.check_device(settings.device)
    ranks.check_batch(settings.batch_size)
    if settings.dtype == "bfloat16" and not multiplies_bfloat16(settings.device):
        log.warning("this device emulates bfloat16, which takes about ten times as long as float32; see dtype='auto'")
    check_protection(core, options, validation=validation is not None)
    held = None if validation is None else taken(validation, core, task_of(core, options))
    if held is not None:
        say_missing_classes(held, core, "the validation data")
    if options.get("start") is None:
        check_supported(options, core, held, len(check_shares(points)))
    ready = prepare(core, train_data, points=points, progress=progress, **options)
    check_supported(options, core, held, len(ready.supernet.points))
    check_unseen(options, held, ready.train_data)
    criterion = str(ready.facts.get("criterion", options.get("criterion", "taylor")))
    by_class = _lessons_by_class(ready, criterion) if options.get("class_scores") else None
    spent = _train(ready, settings, options, progress, started) if settings.epochs > 0 else Spent()
    balanced = options.get("balanced", False)
    calibrate_points(
        ready.supernet, ready.task, ready.train_data, progress, full=settings.epochs > 0, balanced=balanced
    )
    family = ready.family
    facts = _provenance(settings, options, ready.train_data, spent, started) | ready.facts
    family.evidence = Evidence((), (), facts)
    if by_class is not None:
        family.evidence = _with_class_scores(ready, by_class, criterion, settings.seed, progress)
    if held is not None:
        measure_family(family, core, held, progress=progress, seed=settings.seed)
        promised(family, options, held, progress)
    for warning in family.warnings:
        log.warning(warning)
    return family


def _lessons_by_class(ready: Preparation, criterion: str) -> ArrayData:
    """Return the training data, once it is sure that units can be rated by class on it."""
    data = ready.train_data
    check_class_scores(ready.family.core, graph_of(ready.supernet.space), data, criterion)
    return cast("ArrayData", data)


def _with_class_scores(
    ready: Preparation, data: ArrayData, criterion: str, seed: int, progress: Reporter | None
) -> Evidence:
    """Return the family's evidence with scores by class of its full point, as it is after training."""
    family = ready.family
    scores = rate_classes(
        family.core, ready.supernet, ready.task, data, criterion=criterion, seed=seed, progress=progress
    )
    told = {"class scores": f"{criterion}, up to {scores.samples} samples a class"}
    return replace(family.evidence, provenance=dict(family.evidence.provenance) | told, class_scores=scores)


@dataclass(frozen=True)
class Spent:
    """What training cost."""

    steps: int = 0
    expected_macs: int = 0
    """As told before the first step."""
    macs: int = 0
    earlier_s: float = 0.0
    """Seconds of earlier legs of the run, which were interrupted."""


def _train(
    ready: Preparation, settings: TrainSettings, options: FitOptions, progress: Reporter | None, started: float
) -> Spent:
    """Train the points and return what it cost."""
    recipe, checkpoint = options.get("recipe", "sandwich"), options.get("checkpoint")
    steps = num_steps(ready.train_data, settings)
    trainer = Trainer(ready.supernet, ready.task, steps=steps, recipe=recipe, settings=settings, teacher=ready.teacher)
    trainer.seconds_spent = time.monotonic() - started
    train(
        trainer,
        ready.train_data,
        recipe=recipe,
        checkpoint=Path(checkpoint) if checkpoint else None,
        resume=options.get("resume", False),
        progress=progress,
    )
    ready.supernet.to("cpu")
    expected = trainer.expected_macs(min(settings.batch_size, len(ready.train_data)))
    earlier = max(0.0, trainer.seconds_spent - (time.monotonic() - started))
    return Spent(steps, expected, trainer.macs_spent, earlier)


def _provenance(
    settings: TrainSettings, options: FitOptions, data: TensorData, spent: Spent, started: float
) -> dict[str, str]:
    return {
        "recipe": options.get("recipe", "sandwich"),
        "criterion": options.get("criterion", "taylor"),
        "epochs": f"{settings.epochs:g}",
        "learning rate": f"{settings.learning_rate:g}",
        "batch size": str(settings.batch_size),
        "seed": str(settings.seed),
        "dtype": settings.dtype,
        "training data": f"{data.label}; fingerprint {data.fingerprint}",
        "training steps": str(spent.steps),
        "training MACs": str(spent.macs),
        "training MACs expected": str(spent.expected_macs),
        **({"random specs a step": str(settings.random_specs)} if settings.random_specs else {}),
        "seconds": f"{time.monotonic() - started + spent.earlier_s:.0f}",
        **({"processes": str(Ranks.here().count)} if Ranks.here().count > 1 else {}),
        "machine": machine_fingerprint(),
        "versions": versions(),
    }


def prepare(
    core: Core,
    train_data: Any,
    *,
    points: Sequence[float] = DEFAULT_POINTS,
    progress: Reporter | None = None,
    **options: Unpack[FitOptions],
) -> Preparation:
    """Analyse, rate and sort a core, and lay out its operating points; nothing is trained yet.

    Args and errors as for `fit`. Use it with `Trainer` inside a training loop of your own.
    """
    check_options(options, {"points": points, "progress": progress})
    check_start(options, points_given=points is not DEFAULT_POINTS)
    if options.get("start") is not None:
        return _going_on(core, train_data, progress, options)
    tell = progress or (lambda _stage, _done: None)
    settings, shares, plain = train_settings(options), check_shares(points), task_of(core, options)
    check_protection(core, options, validation=True)
    data = _lessons(core, plain, train_data, progress, options)
    task, weights = weighted(plain, core, options, data)
    tell("verifying groups", 0.0)
    core = with_split_attention(core, leave=_named_by_user(options))
    graph = analyse(
        core,
        ignore=options.get("ignore", ()),
        groups=options.get("groups", ()),
        seed=settings.seed,
        progress=lambda _what, done: tell("verifying groups", done),
    )
    if task.outputs:
        core, graph = with_cut_outputs(core, graph, task, data)
    tell("rating channels and blocks", 0.0)
    sample = (balanced_sample if options.get("balanced") else sample_of)(data, SCORE_SAMPLES, settings.seed)
    scores = score(
        core,
        graph,
        task,
        list(batches(sample, SCORE_BATCH)),
        criterion=options.get("criterion", "taylor"),
        seed=settings.seed,
        data_fingerprint=sample.fingerprint,
    )
    scores = agreed_scores(scores)
    supernet = nest(core, graph, scores, CostModel.of)
    facts = put_in_order(supernet, core, scores, (task, data, settings), options, progress)
    facts |= _asked_of_analysis(options) | facts_of_factors(core) | weights
    choose_points(supernet, shares)
    if graph.outputs:
        facts["outputs"] = f"{', '.join(map(str, graph.outputs))}; turned to mixed principal axes"
    family = Family(replace(core, augment=task.augmentation), supernet, graph=graph, task=plain)
    return Preparation(family, supernet, task, data, facts, core_as_teacher(core, family) if core.rewritten else None)


def _lessons(core: Core, task: Task, train_data: Any, progress: Reporter | None, options: FitOptions) -> TensorData:
    """Return the training data as the recipe needs it."""
    recipe = RECIPES.get(options.get("recipe", "sandwich"))()
    data = taken(train_data, core, task, labels=False)
    say_missing_classes(data, core, "the training data")
    needed = train_settings(options).epochs > 0 and recipe.needs_labels
    data = labelled(as_loaded(core), task, data, needed=needed, progress=progress)
    check_augments(data, task)
    return data


def _going_on(core: Core, train_data: Any, progress: Reporter | None, options: FitOptions) -> Preparation:
    """Return what `prepare` does, for a family that is there already."""
    start = options["start"]
    family, task = family_to_go_on(core, start, options)
    data = _lessons(core, task, train_data, progress, options)
    task, weights = weighted(task, core, options, data)
    facts = facts_before(family.evidence.provenance) | weights
    return Preparation(family, family.supernet, task, data, facts, core_as_teacher(core, family))


def _named_by_user(options: FitOptions) -> list[str]:
    """Return the modules and tensors that the user speaks of: those stay in the form that the user knows."""
    ignore = options.get("ignore", ())
    names = [ignore] if isinstance(ignore, str) else [*ignore]
    return names + [
        name for declared in options.get("groups", ()) for name in (*declared.makes, *declared.reads, *declared.scales)
    ]


def _asked_of_analysis(options: FitOptions) -> dict[str, str]:
    """Return for the provenance what was kept whole by request, and which groups were declared by hand."""
    ignore = options.get("ignore", ())
    facts = {
        "kept whole": [ignore] if isinstance(ignore, str) else [*ignore],
        "declared by hand": [declared.name for declared in options.get("groups", ())],
    }
    return {name: ", ".join(found) for name, found in facts.items() if found}
