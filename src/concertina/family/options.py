"""Options of `fit`, and what they become."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints

import torch

from concertina.analyse import Declared
from concertina.errors import InputError, did_you_mean
from concertina.measure.machine import multiplies_bfloat16
from concertina.objective.base import TASKS, Task
from concertina.score import CRITERIA, check_by_class
from concertina.train import RECIPES, TrainSettings, check_room
from concertina.types import Core

MAX_SEED = 2**32 - 1
MAX_RANDOM_SPECS = 64
MAX_REHEARSALS = 16
LARGEST_WEIGHT = 1000.0
"""Largest weight of a class in training."""
BALANCED = "balanced"
"""Weights that give every class an equal part in all, however rare it is."""
ORDERS = ("rehearsed", "criterion")
WORTHS = ("macs", "latency")


class FitOptions(TypedDict, total=False):
    """Options of `fit` beyond data and points; the fields of `TrainSettings`, and how to get there."""

    recipe: str
    criterion: str
    class_scores: bool
    """Whether each unit is also rated for each class, once the family is trained, and the scores kept in its file."""
    order: str | None
    """What the growth order follows: "rehearsed" (measured on a copy after a short training of random subnets; the
    default where the training has 200 steps or more) or "criterion" (the scores)."""
    rehearsals: int
    """How often a "rehearsed" order is rehearsed: 1 (the default), or again from the core's weights each time half of
    what was there is gone."""
    worth: str
    """What a step of the growth order is worth something for: "macs" (the default), or "latency" by a table that is
    measured once on this machine, for calls of one input on one thread."""
    task: Task
    augment: str
    ignore: Sequence[str]
    """Paths of modules (with all inside them) and names of groups that stay whole; see `analyse`."""
    groups: Sequence[Declared]
    """Groups declared by hand, for layers without a rule; see `concertina.group`."""
    start: Any
    """A family of this core (or its file) that is trained further: its sizes, points and growth order stay."""
    class_weights: Mapping[str, float] | Literal["balanced"]
    """How much samples of a class count in scores, labels and distillation, where others count 1; "balanced": every
    class has an equal part in all."""
    protect: Mapping[str, float]
    """Classes that matter most, with the largest share of each that may be missed: they count more in training, and
    a threshold for every point is found on the validation data; see `Family.promise`."""
    balanced: bool
    """Whether criteria and statistics see all classes equally often, however rare."""
    outputs: Sequence[int]
    """Sizes to which the network's embeddings may be cut: each point gives, and each is trained for, all of them."""
    epochs: float
    batch_size: int
    learning_rate: float
    seed: int
    device: str
    dtype: str
    """Number type to train in: "float32", "bfloat16", or "auto": bfloat16 where the device multiplies in it."""
    optimizer: str
    weight_decay: float
    warmup_share: float
    distill_weight: float
    full_from_core: float
    shrink_share: float
    random_specs: int
    clip_norm: float
    average: float
    checkpoint: str | Path
    """File for the state of the run, so that it survives being killed."""
    resume: bool
    """Go on from the checkpoint."""


_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "epochs": (lambda x: 0 <= x <= 1e6, "0 to 1,000,000"),
    "batch_size": (lambda x: x >= 2, "2 or more"),
    "learning_rate": (lambda x: 0 < x < 100, "above 0, below 100"),
    "weight_decay": (lambda x: x >= 0, "0 or more"),
    "warmup_share": (lambda x: 0 <= x < 1, "0 to below 1"),
    "distill_weight": (lambda x: x >= 0, "0 or more"),
    "full_from_core": (lambda x: x >= 0, "0 or more"),
    "shrink_share": (lambda x: 0 <= x < 1, "0 to below 1"),
    "random_specs": (lambda x: 0 <= x <= MAX_RANDOM_SPECS, f"0 to {MAX_RANDOM_SPECS}"),
    "clip_norm": (lambda x: x >= 0, "0 (no limit) or more"),
    "average": (lambda x: 0 <= x < 1, "0 to below 1"),
    "seed": (lambda x: 0 <= x <= MAX_SEED, f"0 to {MAX_SEED}"),
}
"""Option -> whether a value is within its range, and the range in words."""


def check_options(options: FitOptions, given: Mapping[str, object]) -> None:
    """Refuse options that `fit` does not have, or of the wrong kind, before anything slow is done.

    Args:
        options: What was given by name.
        given: The arguments that `fit` names itself; they count as known.

    Raises:
        InputError: The text names the option, those there are, and the nearest one.
        UnknownNameError: No such recipe or criterion.
    """
    known = [*given, *FitOptions.__annotations__]
    for name in options:
        if name not in known:
            allowed = ", ".join(sorted(known))
            raise InputError("unknown option", asked=repr(name), allowed=allowed, do=did_you_mean(name, known))
    check_order(options.get("order"))
    check_worth(options.get("worth", "macs"))
    check_rehearsals(options)
    check_classes(options)
    RECIPES.entry(options.get("recipe", "sandwich"))
    CRITERIA.entry(options.get("criterion", "taylor"))
    if options.get("class_scores"):
        check_by_class(options.get("criterion", "taylor"))
    kinds: Mapping[str, tuple[object, type | tuple[type, ...], str]] = {
        "task": (options.get("task"), (Task, type(None)), "a Task, such as concertina.objective.Classification()"),
        "checkpoint": (options.get("checkpoint"), (str, Path, type(None)), "a path"),
        "resume": (options.get("resume", False), bool, "True or False"),
        "balanced": (options.get("balanced", False), bool, "True or False"),
        "class_scores": (options.get("class_scores", False), bool, "True or False"),
    }
    for name, (value, kind, allowed) in kinds.items():
        if not isinstance(value, kind):
            raise InputError(f"option {name}", asked=repr(value), allowed=allowed)
    ignore = options.get("ignore", ())
    names = [ignore] if isinstance(ignore, str) or not isinstance(ignore, Iterable) else [*ignore]
    if not all(isinstance(name, str) for name in names):
        raise InputError("option ignore", asked=repr(ignore), allowed="paths of modules and names of groups")
    declared = options.get("groups", ())
    if not isinstance(declared, Sequence) or not all(isinstance(each, Declared) for each in declared):
        raise InputError("option groups", asked=repr(declared), allowed="a list of concertina.group(...)")
    for name in ("augment", "outputs"):
        if options.get("task") is not None and name in options:
            raise InputError(f"option {name}", asked="with task=", allowed="one of both", do="Give it to the task.")
    if options.get("resume") and not options.get("checkpoint"):
        raise InputError("option resume", asked="no checkpoint", allowed="together with checkpoint=FILE")
    if not callable(given.get("progress") or print):
        raise InputError("option progress", asked=repr(given["progress"]), allowed="a function of (text, share done)")


def check_order(name: str | None) -> None:
    """Refuse a growth order that there is not.

    Raises:
        InputError: The text names those there are.
    """
    if name not in (None, *ORDERS):
        raise InputError("option order", asked=repr(name), allowed=", ".join(ORDERS))


def check_rehearsals(options: FitOptions) -> None:
    """Refuse numbers of rehearsals that are none, or beside an order without any.

    Raises:
        InputError: The text says what is allowed.
    """
    count = options.get("rehearsals", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_REHEARSALS:
        raise InputError("option rehearsals", asked=repr(count), allowed=f"1 to {MAX_REHEARSALS}")
    if count > 1 and options.get("order") == "criterion":
        raise InputError("option rehearsals", asked="with order='criterion'", allowed="with order='rehearsed'")


def check_classes(options: FitOptions) -> None:
    """Refuse weights and rates of classes that are out of range; the classes themselves are the network's to know.

    Raises:
        InputError: The text says what is allowed.
    """
    weights, rates = options.get("class_weights") or {}, options.get("protect") or {}
    if weights != BALANCED and not isinstance(weights, Mapping):
        allowed = f'class name -> weight, such as {{"cat": 4}}, or {BALANCED!r}'
        raise InputError("option class_weights", asked=repr(weights), allowed=allowed)
    if not isinstance(rates, Mapping):
        raise InputError("option protect", asked=repr(rates), allowed='class name -> rate, such as {"cat": 0.02}')
    for name, weight in weights.items() if isinstance(weights, Mapping) else ():
        if _kind_wanted(weight, float) or not 0 < weight <= LARGEST_WEIGHT:
            allowed = f"above 0, up to {LARGEST_WEIGHT:g}"
            raise InputError("option class_weights", asked=f"{name!r}: {weight!r}", allowed=allowed)
    for name, rate in rates.items():
        if _kind_wanted(rate, float) or not 0 < rate < 1:
            do = "No data can prove that nothing is ever missed." if rate == 0 else ""
            allowed = "a share above 0 and below 1"
            raise InputError("option protect", asked=f"{name!r}: {rate!r}", allowed=allowed, do=do)


def check_worth(name: str) -> None:
    """Refuse a price of growth steps that there is not.

    Raises:
        InputError: The text names those there are.
    """
    if name not in WORTHS:
        raise InputError("option worth", asked=repr(name), allowed=", ".join(WORTHS))


def task_of(core: Core, options: FitOptions) -> Task:
    """Return the task given, or the one the core was trained for, with the augmentation asked for or its own."""
    given = options.get("task")
    if given is not None:
        return given
    more: dict[str, Any] = {"augment": options.get("augment", core.augment)}
    kind = TASKS.get(core.task)
    if options.get("outputs"):
        if "outputs" not in inspect.signature(kind).parameters:
            raise InputError(f"option outputs, with a task of {core.task}", allowed="a task of similarity")
        more["outputs"] = options["outputs"]
    return kind(core.class_names, core.preprocess, **more)  # type: ignore[call-arg]


def train_settings(options: FitOptions) -> TrainSettings:
    """Return the training settings among the options.

    Raises:
        InputError: A value is out of range or of the wrong kind, or does not go with the recipe.
    """
    hints = get_type_hints(TrainSettings)
    chosen: dict[str, Any] = {key: value for key, value in options.items() if key in hints}
    if chosen.get("dtype") == "auto":
        chosen["dtype"] = "bfloat16" if multiplies_bfloat16(str(options.get("device", "cpu"))) else "float32"
    for name, value in chosen.items():
        allowed = _kind_wanted(value, hints[name])
        good, words = _RANGES.get(name, (lambda _: True, ""))
        if allowed or not good(value):
            raise InputError(f"option {name}", asked=repr(value), allowed=words or allowed)
    if "device" in chosen:
        _check_device(chosen["device"])
    settings = TrainSettings(**chosen)
    check_room(options.get("recipe", "sandwich"), settings)
    return settings


def _kind_wanted(value: object, hint: Any) -> str:
    """Return "" where `value` is of the kind that the annotation says, else what is wanted in words."""
    if get_origin(hint) is Literal:
        return "" if value in get_args(hint) else ", ".join(get_args(hint))
    if hint is str:
        return "" if isinstance(value, str) else "a text"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "a number"
    return "a whole number" if hint is int and not isinstance(value, int) else ""


def _check_device(device: str) -> None:
    try:
        float(torch.zeros(1, device=device))  # a device without values, "meta", fails here
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        said = str(error).split("\n")[0]
        raise InputError("option device", asked=f"{device!r} ({said})", allowed=", ".join(there)) from error
