"""Modules of a family: trained on a domain's data, kept by name, plugged into any of its sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from concertina.analyse.class_head import class_layer
from concertina.analyse.token_layer import token_layer
from concertina.errors import InputError, PointError, UnknownNameError, did_you_mean, some
from concertina.family.evidence import Measurable
from concertina.family.given import taken
from concertina.family.options import train_settings
from concertina.family.samples import calibration_batches
from concertina.load.data import TensorData, batches
from concertina.measure.quality import evaluate
from concertina.modules import KINDS
from concertina.nest import Supernet
from concertina.nest.plugged import Plug, new_plug, with_plugs
from concertina.objective.base import TASKS, Task
from concertina.train import Reporter, TrainSettings
from concertina.train.calibrate import MOVING_STATISTICS, calibrate, shared_statistics
from concertina.train.plugging import train_plugs
from concertina.types import Core, Record
from concertina.types.network import UNFIT

HEAD = "head"
BATCH = 128
LONGEST_NAME = 100
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


@dataclass(frozen=True, eq=False)
class Module:
    """A named module: what is plugged in, the statistics that go with it, and the classes it answers in."""

    name: str
    plugs: tuple[Plug, ...]
    private: Mapping[str, Mapping[str, Tensor]]
    """Point name -> normalisation tensors of the core with the module; empty where none has moving statistics."""
    class_names: tuple[str, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    """How it came about."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all its tensors, statistics of every point included."""
        held = [t for plug in self.plugs for t in plug.tensors.values()]
        held += [t for tensors in self.private.values() for t in tensors.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def __repr__(self) -> str:
        kinds = " + ".join(plug.kind for plug in self.plugs)
        return f"Module({self.name!r}, {kinds}, {self.size_bytes:,} bytes)"


class Modules(Mapping[str, Module]):
    """The modules of a family by name, in the order in which they came."""

    def __init__(self) -> None:
        self._held: dict[str, Module] = {}

    def __getitem__(self, name: str) -> Module:
        if name not in self._held:
            allowed, do = some(self._held) or "none is there yet", did_you_mean(name, self._held)
            raise UnknownNameError("unknown module", asked=repr(name), allowed=allowed, do=do)
        return self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._held.values())) or "no modules"

    def check_new(self, name: object) -> None:
        """Refuse what is no name, or is taken.

        Raises:
            InputError: The text says which.
        """
        if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME or UNFIT.search(name):
            raise InputError("name of a module", asked=repr(name), allowed=f"a text of 1 to {LONGEST_NAME} characters")
        if name in self._held:
            do = "Delete it first, or choose another name."
            raise InputError("name of a module", asked=repr(name), allowed="a new one", do=do)

    def add(self, module: Module) -> None:
        """Take in a module.

        Raises:
            InputError: There is one of that name already.
        """
        self.check_new(module.name)
        self._held[module.name] = module

    def delete(self, name: str) -> None:
        """Forget a module; the core is as it was without it.

        Raises:
            UnknownNameError: There is none of that name.
        """
        del self._held[self[name].name]


def adapted(
    family: Measurable, name: str, source: Any, *, kind: str = "lora", layers: Sequence[str] = (), **options: Any
) -> Module:
    """Return a module trained on a domain's data, for all operating points; see `Family.adapt`.

    Raises:
        InputError: The name is no name, or an option is wrong.
        UnknownNameError: No such kind.
        DataError: The data does not fit the network.
    """
    progress, given = options.pop("progress", None), options.pop("options", {})
    settings = _settings(options)
    supernet, core = family.supernet, family.core
    data = _domain(source, core, family.task)
    task = _task(core, data)
    plugs = [] if kind == HEAD else [_start(family, kind, layers, given, settings.seed)]
    if kind == HEAD or task.class_names != core.class_names:
        path = class_layer(core, supernet.module.eval(), len(core.class_names))
        plugs = [_without(plug, path) for plug in plugs]
        plugs.append(new_plug(supernet, HEAD, layers=[path], options={"classes": len(task.class_names)}))
    trained = train_plugs(supernet, plugs, task, data, settings, progress)
    facts = {
        "training data": f"{data.label}; fingerprint {data.fingerprint}",
        "steps": str(trained.steps),
        "training MACs": str(trained.macs_spent),
        "seed": str(settings.seed),
    }
    private = _statistics(supernet, task, data, trained.plugs)
    return Module(name, trained.plugs, private, task.class_names, facts)


def _start(family: Measurable, kind: str, layers: Sequence[str], options: Mapping[str, Any], seed: int) -> Plug:
    """Return the plug that training starts from; one around the whole network is put where that reads its tokens."""
    core, supernet = family.core, family.supernet
    if kind in KINDS and KINDS.get(kind).around:
        layers = layers or [token_layer(core, supernet.module.eval())]
        sees_back_only = core.task == TASKS.get("language").name
        options = {**({"in_front": True} if sees_back_only else {}), **options}
    return new_plug(supernet, kind, layers=layers, seed=seed, options=options)


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


def plugged_view(supernet: Supernet, point: str, modules: Sequence[Module], *, merged: bool = False) -> nn.Module:
    """Return an operating point with modules plugged in; the first that has statistics of its own gives them.

    Args:
        supernet: The family.
        point: Name of the point.
        modules: The modules, in order.
        merged: Whether changes of weights are merged into copies of what they touch.

    Raises:
        PointError: A module has statistics, but none for this point: it was not there when the module was trained.
    """
    own = supernet.private[point]
    for module in reversed(modules):
        if module.private and point not in module.private:
            there, do = ", ".join(module.private), "Train the module anew, now that the point is there."
            raise PointError(f"statistics of module {module.name!r}", asked=repr(point), allowed=there, do=do)
        own = dict(module.private.get(point, own))
    plugs = [plug for module in modules for plug in module.plugs]
    return with_plugs(supernet, supernet.points[point].spec, plugs, own, merged=merged)


def measured(family: Measurable, module: Module, source: Any) -> list[Record]:
    """Return the figures of every point with a module, on held-out data of its domain."""
    data = _domain(source, family.core, family.task)
    task, found = _task(family.core, data), []
    for name, point in family.supernet.points.items():
        subnet = plugged_view(family.supernet, name, [module])
        quality = evaluate(subnet, task, batches(data, BATCH), spec=point.spec.text, data=data.fingerprint)
        found += [replace(r, scope=f"module {module.name}") for r in quality.records if r.metric == task.metric.name]
    return found


def _domain(source: Any, core: Core, task: Task) -> TensorData:
    """Return a domain's data; its classes are its own where it names them."""
    names = tuple(getattr(source, "class_names", ()) or core.class_names)
    return taken(source, replace(core, class_names=names), TASKS.get(task.name)(names, core.preprocess))  # type: ignore[call-arg]


def _task(core: Core, data: TensorData) -> Task:
    names = tuple(data.class_names or core.class_names)
    return TASKS.get(core.task)(names, core.preprocess, augment=core.augment)  # type: ignore[call-arg]


def _without(plug: Plug, path: str) -> Plug:
    """Return a plug that leaves one layer alone."""
    return replace(plug, places={place: own for place, own in plug.places.items() if place != path})


def _statistics(
    supernet: Supernet, task: Task, data: TensorData, plugs: Sequence[Plug]
) -> dict[str, dict[str, Tensor]]:
    """Return the normalisation tensors of every point with the plugs; nothing where no layer has moving statistics."""
    if not any(isinstance(layer, MOVING_STATISTICS) for layer in supernet.module.modules()):
        return {}
    seen = calibration_batches(task, data)
    with torch.no_grad():
        return {
            name: calibrate(
                supernet, point.spec, supernet.private[name] or shared_statistics(supernet), task, seen, plugs
            )
            for name, point in supernet.points.items()
        }
