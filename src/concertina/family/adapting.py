"""Adaptation: a module is trained on a domain's data, for every size of a family at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import torch
from torch import Tensor

from concertina.analyse.class_head import class_layer
from concertina.analyse.token_layer import token_layer
from concertina.errors import DataError, InputError, did_you_mean, some
from concertina.family.dial import point_called
from concertina.family.evidence import Measurable
from concertina.family.given import taken
from concertina.family.modules import HEAD, OUTPUT_HEAD, Module, plugged_view
from concertina.family.options import train_settings
from concertina.family.routing import FEWEST, Features, Gaussian, gaussian
from concertina.family.samples import calibration_batches
from concertina.load.data import TensorData, as_data, batches
from concertina.measure.quality import evaluate
from concertina.modules import KINDS, checked_options
from concertina.nest import Supernet
from concertina.nest.plugged import Plug, new_plug
from concertina.objective.base import TASKS, Task
from concertina.train import Reporter, TrainSettings
from concertina.train.calibrate import MOVING_STATISTICS, calibrate, moving, shared_statistics
from concertina.train.plugging import train_plugs
from concertina.types import Core, Record

log = logging.getLogger("concertina")

BATCH = 128
CLASSES = "classification"
USUAL: Mapping[str, Any] = {"epochs": 3.0, "batch_size": 64, "learning_rate": 5e-3, "weight_decay": 0.01}
"""How a module is trained unless said."""


class AdaptOptions(TypedDict, total=False):
    """Options of `Family.adapt`."""

    kind: str
    """Kind of module: "lora" (the default), another name in `concertina.modules.KINDS`, or "head" alone."""
    layers: Sequence[str]
    """Parts of paths of the layers it is put on; all that suit unless said."""
    options: Mapping[str, Any]
    """Options of the kind, such as {"rank": 4}."""
    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    progress: Reporter | None
    """Told now and then where the work stands."""


def adapted(
    family: Measurable,
    name: str,
    source: Any,
    *,
    point: str = "",
    kind: str = "lora",
    layers: Sequence[str] = (),
    **options: Any,
) -> Module:
    """Return a module trained on a domain's data, for all operating points; see `Family.adapt`.

    Args:
        family: The family.
        name: What to call it.
        source: Its data.
        point: At which point the router knows domains; the smallest unless said.
        kind: Kind of module.
        layers: Layers it is put on.
        **options: See `AdaptOptions`.

    Raises:
        InputError: The name is no name, or an option is wrong.
        UnknownNameError: No such kind.
        DataError: The data does not fit the network.
    """
    progress, given = options.pop("progress", None), options.pop("options", {})
    settings = _settings(options)
    supernet, core = family.supernet, family.core
    data, task = _domain(source, core, family.task)
    plugs = [] if kind == HEAD else [_start(family, kind, layers, given, settings.seed)]
    if kind == HEAD or task.class_names != core.class_names:
        head = _head(supernet, core, len(task.class_names))
        plugs = [*(_without(plug, head) for plug in plugs), head]
    trained = train_plugs(supernet, plugs, task, data, settings, progress)
    facts = {
        "training data": f"{data.label}; fingerprint {data.fingerprint}",
        "steps": str(trained.steps),
        "training MACs": str(trained.macs_spent),
        "seed": str(settings.seed),
    }
    private = statistics_of(supernet, task, data, trained.plugs)
    return Module(name, trained.plugs, private, task.class_names, facts, router=looks_of(family, task, data, point))


def looks_of(family: Measurable, task: Task, data: TensorData, point: str = "") -> Gaussian | None:
    """Return what the features of a domain look like; None where there are too few samples.

    Args:
        family: The family.
        task: Gives the inputs of a batch.
        data: Samples of the domain.
        point: Whose features; the smallest point's unless said.
    """
    if len(data) < FEWEST:
        return None
    chosen = point or min(family.supernet.points.values(), key=lambda each: each.macs).name
    return gaussian(chosen, Features(family.core, family.supernet, chosen).of(task, data))


def _start(family: Measurable, kind: str, layers: Sequence[str], options: Mapping[str, Any], seed: int) -> Plug:
    """Return the plug that training starts from; one around the whole network is put where that reads its tokens."""
    core, supernet = family.core, family.supernet
    if kind in KINDS and KINDS.get(kind).around:
        layers = layers or [token_layer(core, supernet.module.eval())]
        sees_back_only = core.task == TASKS.get("language").name
        options = {**({"in_front": True} if sees_back_only else {}), **options}
    return new_plug(supernet, kind, layers=layers, seed=seed, options=options)


def check_adapt_options(options: Mapping[str, Any]) -> None:
    """Refuse options of `Family.adapt` that cannot be, before anything slow.

    Raises:
        InputError: There is no such option, or a value is out of range.
        UnknownNameError: No such kind.
    """
    rest = {name: value for name, value in options.items() if name not in ("kind", "layers", "options", "progress")}
    checked_options(KINDS.get(options.get("kind", "lora"))(), options.get("options", {}))
    _settings(rest)


def _settings(options: Mapping[str, Any]) -> TrainSettings:
    """Return training settings.

    Raises:
        InputError: There is no such option, or a value is out of range.
    """
    known = [*AdaptOptions.__annotations__]
    for name in options:
        if name not in known:
            do = did_you_mean(name, known)
            raise InputError("unknown option", asked=repr(name), allowed=", ".join(known), do=do)
    chosen: Any = {**USUAL, **options}
    if chosen["epochs"] == 0:
        raise InputError("option epochs", asked="0", allowed="above 0", do="A module without training changes nothing.")
    return train_settings(chosen)


def measured(
    family: Measurable, modules: Sequence[Module], source: Any, points: Sequence[str] = (), scope: str = ""
) -> list[Record]:
    """Return the figures of points with modules, on held-out data of their domain.

    Args:
        family: The family.
        modules: What is plugged in.
        source: The data; where a module has a head, labelled by its classes.
        points: Names of the points; all unless said.
        scope: Scope of the Records.
    """
    names = next((module.class_names for module in modules if module.heads), family.core.class_names)
    data, task = _domain(source, replace(family.core, class_names=names), family.task)
    if tuple(data.class_names or names) != tuple(names):
        raise DataError("classes of the data", asked=some(data.class_names), allowed=some(names))
    found = []
    plain_too = bool(modules) and task.class_names == family.core.class_names
    for name in points or family.supernet.points:
        spec = point_called(family.points, name).spec
        quality = evaluate(
            plugged_view(family.supernet, name, modules),
            task,
            batches(data, BATCH),
            spec=spec.text,
            data=data.fingerprint,
        )
        own = [replace(record, scope=scope) for record in quality.records if record.metric == task.metric.name]
        if plain_too:
            before = evaluate(family.view(name), task, batches(data, BATCH), spec=spec.text, data=data.fingerprint)
            plain = next(record for record in before.records if record.metric == task.metric.name)
            worse = own[0].value < plain.value if task.metric.direction == "max" else own[0].value > plain.value
            if worse:
                told = f"{own[0].value:.4g} beside {plain.value:.4g} without, {len(data)} samples"
                log.warning("point %r is worse with %s: %s %s", name, scope, plain.metric, told)
        found += own
    return found


def _domain(source: Any, core: Core, task: Task) -> tuple[TensorData, Task]:
    """Return a domain's data, and the task: with classes of its own where it names them.

    A network for something else than classes gets them from data with one label a sample, a whole number.
    """
    names = tuple(getattr(source, "class_names", ()) or core.class_names)
    if core.task == CLASSES:
        data = taken(source, replace(core, class_names=names), TASKS.get(CLASSES)(names, core.preprocess))  # type: ignore[call-arg]
        names = tuple(data.class_names or names)
        return data, TASKS.get(CLASSES)(names, core.preprocess, augment=core.augment)  # type: ignore[call-arg]
    data = as_data(source, names)
    if len(data.tensors) != len(core.example_inputs) + 1 or data.tensors[-1].is_floating_point():
        return taken(data, core, task), task
    names = names or tuple(str(i) for i in range(int(data.tensors[-1].max()) + 1))
    told = TASKS.get(CLASSES)(names, core.preprocess)  # type: ignore[call-arg]
    return taken(data, replace(core, class_names=names), told), told


def _head(supernet: Supernet, core: Core, classes: int) -> Plug:
    """Return a head that is like no class more than another: in the last layer's place, or on a network's outputs."""
    if core.task == CLASSES:
        path = class_layer(core, supernet.module.eval(), len(core.class_names))
        return new_plug(supernet, HEAD, layers=[path], options={"classes": classes})
    with torch.no_grad():
        features = supernet.module.eval()(*core.example_inputs).shape[-1]
    return new_plug(supernet, OUTPUT_HEAD, options={"classes": classes, "features": features})


def _without(plug: Plug, head: Plug) -> Plug:
    """Return a plug that leaves the layer alone in whose place a head is."""
    return replace(plug, places={place: own for place, own in plug.places.items() if place not in head.places})


def statistics_of(
    supernet: Supernet, task: Task, data: TensorData, plugs: Sequence[Plug]
) -> dict[str, dict[str, Tensor]]:
    """Return the moving statistics of every point with the plugs; nothing where no layer has any."""
    if not any(isinstance(layer, MOVING_STATISTICS) for layer in supernet.module.modules()):
        return {}
    seen = calibration_batches(task, data)
    found = {}
    with torch.no_grad():
        for name, point in supernet.points.items():
            held = supernet.private[name] or shared_statistics(supernet)
            found[name] = moving(calibrate(supernet, point.spec, held, task, seen, plugs))
    return found
