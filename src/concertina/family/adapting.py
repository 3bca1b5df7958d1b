"""Adaptation: a module is trained on a domain's data, for every size of a family at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from concertina.analyse.class_head import class_layer
from concertina.analyse.token_layer import token_layer
from concertina.errors import DataError, InputError, some
from concertina.family.dial import point_called
from concertina.family.evidence import Measurable
from concertina.family.given import taken
from concertina.family.module_options import ModuleTraining, module_settings
from concertina.family.modules import HEAD, OUTPUT_HEAD, TOKEN_HEAD, Module, plugged_view
from concertina.family.routing import FEWEST, Features, Gaussian, gaussian
from concertina.family.samples import calibration_batches
from concertina.load.data import TensorData, as_data, batches
from concertina.measure.quality import Quality, evaluate, paired_difference
from concertina.modules import KINDS, checked_options
from concertina.nest import Supernet
from concertina.nest.plugged import Plug, new_plug
from concertina.nest.token_stream import token_stream
from concertina.objective.base import TASKS, Task
from concertina.train.calibrate import MOVING_STATISTICS, calibrate, moving, shared_statistics
from concertina.train.plugging import train_plugs
from concertina.types import Core, Record

log = logging.getLogger("concertina")

BATCH = 128
CLASSES, TAGS = "classification", "tagging"
USUAL: Mapping[str, Any] = {"epochs": 3.0, "batch_size": 64, "learning_rate": 5e-3, "weight_decay": 0.01}
"""How a module is trained unless said."""


class AdaptOptions(ModuleTraining, total=False):
    """Options of `Family.adapt`."""

    kind: str
    """Kind of module: "lora" (the default), another name in `concertina.modules.KINDS`, or "head" alone."""
    layers: Sequence[str]
    """Parts of paths of the layers it is put on; all that suit unless said."""
    options: Mapping[str, Any]
    """Options of the kind, such as {"rank": 4}."""
    half: bool
    """Whether the module keeps its values in 16 bits each: half the bytes, or twice the rank for as many."""


def adapted(
    family: Measurable,
    name: str,
    source: Any,
    *,
    point: str = "",
    kind: str = "lora",
    layers: Sequence[str] = (),
    half: bool = False,
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
        half: Whether its values are kept in 16 bits.
        **options: See `AdaptOptions`.

    Raises:
        InputError: The name is no name, or an option is wrong.
        UnknownNameError: No such kind.
        DataError: The data does not fit the network.
    """
    _check_half(half)
    progress, given = options.pop("progress", None), options.pop("options", {})
    settings = module_settings(options, AdaptOptions.__annotations__, USUAL)
    supernet, core = family.supernet, family.core
    data, task = _domain(source, core, family.task)
    plugs = [] if kind == HEAD else [_start(family, kind, layers, given, settings.seed)]
    if kind == HEAD or task.class_names != core.class_names:
        head = _head(supernet, core, task)
        plugs = [*(_without(plug, head) for plug in plugs), head]
    trained = train_plugs(supernet, plugs, task, data, settings, progress)
    facts = {
        "training data": f"{data.label}; fingerprint {data.fingerprint}",
        "steps": str(trained.steps),
        "training MACs": str(trained.macs_spent),
        "seed": str(settings.seed),
    }
    private = statistics_of(supernet, task, data, trained.plugs)
    found = Module(name, trained.plugs, private, task.class_names, facts, router=looks_of(family, task, data, point))
    return found.halved() if half else found


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
    own = ("kind", "layers", "options", "progress", "half")
    rest = {name: value for name, value in options.items() if name not in own}
    _check_half(options.get("half", False))
    checked_options(KINDS.get(options.get("kind", "lora"))(), options.get("options", {}))
    module_settings(rest, AdaptOptions.__annotations__, USUAL)


def _check_half(half: object) -> None:
    if not isinstance(half, bool):
        raise InputError("option half", asked=repr(half), allowed="True or False")


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
    found: list[Record] = []
    for name in points or family.supernet.points:
        own = _quality(plugged_view(family.supernet, name, modules), family, name, task, data)
        if modules and task.class_names == family.core.class_names:
            plain = _quality(family.view(name), family, name, task, data)
            _say_where_worse(f"point {name!r} is worse with {scope}", task, own, plain)
        found += [replace(record, scope=scope) for record in own.records if record.metric == task.metric.name]
    return found


def _quality(network: nn.Module, family: Measurable, point: str, task: Task, data: TensorData) -> Quality:
    spec = point_called(family.points, point).spec.text
    return evaluate(network, task, batches(data, BATCH), spec=spec, data=data.fingerprint)


def _say_where_worse(what: str, task: Task, own: Quality, plain: Quality) -> None:
    """Warn of a point that serves a domain worse with its modules than without, beyond an interval if there is one."""
    value, before = (next(r for r in each.records if r.metric == task.metric.name).value for each in (own, plain))
    worse = value < before if task.metric.direction == "max" else value > before
    if worse and "correct" in own.rows:
        worse = paired_difference(own.rows["correct"], plain.rows["correct"])[2] < 0
    if worse:
        log.warning("%s: %s %.4g beside %.4g without", what, task.metric.name, value, before)


def _domain(source: Any, core: Core, task: Task) -> tuple[TensorData, Task]:
    """Return a domain's data, and the task: with classes of its own where it names them.

    A network for something else than classes gets them from data with one label a sample, a whole number; or with one
    for each token, which then are tags.
    """
    names = tuple(getattr(source, "class_names", ()) or core.class_names)
    if core.task in (CLASSES, TAGS):
        data = taken(source, replace(core, class_names=names), TASKS.get(core.task)(names, core.preprocess))  # type: ignore[call-arg]
        names = tuple(data.class_names or names)
        return data, TASKS.get(core.task)(names, core.preprocess, augment=core.augment)  # type: ignore[call-arg]
    data = as_data(source, names)
    if len(data.tensors) != len(core.example_inputs) + 1 or data.tensors[-1].is_floating_point():
        return taken(data, core, task), task
    names = names or tuple(str(i) for i in range(int(data.tensors[-1].max()) + 1))
    kind = TASKS.get(TAGS if _is_tagged(data) else CLASSES)
    told = kind(names, core.preprocess)  # type: ignore[call-arg]
    return taken(data, replace(core, class_names=names), told), told


def _is_tagged(data: TensorData) -> bool:
    """Return whether data has a label for each token."""
    return data.tensors[-1].dim() == 2 and data.tensors[-1].shape == data.tensors[0].shape


def _head(supernet: Supernet, core: Core, task: Task) -> Plug:
    """Return a head that is like no class more than another.

    It is in the last layer's place, over the tokens, or on the network's outputs.
    """
    classes = len(task.class_names)
    if core.task in (CLASSES, TAGS):
        path = class_layer(core, supernet.module.eval(), len(core.class_names))
        return new_plug(supernet, HEAD, layers=[path], options={"classes": classes})
    if task.name == TAGS:
        stream = token_stream(supernet, core.example_inputs)
        told = {"classes": classes, "features": stream.width, "at": stream.path, "along": stream.side}
        return new_plug(supernet, TOKEN_HEAD, options=told)
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
