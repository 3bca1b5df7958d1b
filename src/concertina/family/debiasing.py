"""Modules that take an attribute out of a family's representation: trained, measured, and judged group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from concertina.errors import DataError, InputError
from concertina.family.adapting import statistics_of
from concertina.family.attribute import Attribute, attribute_of, crossed
from concertina.family.evidence import Measurable
from concertina.family.given import taken
from concertina.family.held_out import check_classifier
from concertina.family.module_options import ModuleTraining, module_settings
from concertina.family.modules import Module, Modules
from concertina.family.probing import Seen, changes, figures, layer_of, scope_of, seen_by
from concertina.load.data import TensorData
from concertina.modules import KINDS
from concertina.nest.plugged import new_plug
from concertina.objective.removal import REMOVALS
from concertina.train import TrainSettings
from concertina.train.debiasing import Removed, train_debiasing
from concertina.types import Record

KIND = "sparse"
USUAL: Mapping[str, Any] = {"batch_size": 256, "learning_rate": 0.01, "weight_decay": 0.01}
"""How a module is trained unless said."""
USUAL_STEPS, USUAL_EPOCHS = 600, 3.0
"""Steps and passes over the data, at the least, unless said."""
PENALTY = 0.3
"""What open gates cost unless said."""
ATTRIBUTE, VALUES = "attribute", "values of the attribute"
"""Facts of a module that another one is trained on top of."""


class DebiasOptions(ModuleTraining, total=False):
    """Options of `Family.debias`."""

    values: Sequence[str]
    """Values of the attribute that count; all unless said. Samples of others teach the task alone."""
    by: Sequence[str]
    """Ways of removal, in `REMOVALS`: "hsic" and "adversary", both unless said."""
    strength: float
    """How much removal counts beside the task, 1 unless said."""
    beside: Sequence[str]
    """Modules that this one is to be used with: it is trained alone and on top of each, and forgets both attributes."""
    layer: str
    """Path of the layer whose input is cleaned; the one that makes the classes unless said."""
    options: Mapping[str, Any]
    """Options of the kind "sparse": {"penalty": 0.3}."""


@dataclass(frozen=True, eq=False)
class Debiased:
    """What came of a removal."""

    module: Module
    records: tuple[Record, ...]
    """Every point before (without a scope) and after (scope "module NAME"), and the paired changes."""
    warnings: tuple[str, ...]
    """Groups that are served worse than before, with figures."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the module."""
        return self.module.size_bytes

    @property
    def differing(self) -> tuple[int, int]:
        """How many values of the core's weights differ with the module, and how many it could change."""
        return differing(self.module)


def differing(module: Module) -> tuple[int, int]:
    """Return how many values of weights a module changes, and how many it could: the others' gates are shut."""
    gates = [(plug, key) for plug in module.plugs for key in plug.tensors if key.endswith(":gate")]
    changed = 0
    for plug, key in gates:
        own = {name: plug.tensors[f"{key.rpartition(':')[0]}:{name}"] for name in ("gate", "difference")}
        changed += int(plug.rule.delta(nn.Identity(), own, plug.options)["weight"].count_nonzero())
    return changed, sum(plug.tensors[key].numel() for plug, key in gates)


def debiased(
    family: Measurable,
    modules: Modules,
    name: str,
    data: TensorData,
    attribute: Attribute,
    options: DebiasOptions,
) -> Module:
    """Return a module that takes an attribute out at all operating points; see `Family.debias`.

    Raises:
        InputError, UnknownNameError, AnalysisError, TrainingError: As `Family.debias`.
    """
    settings, ways = _settings(options, len(data)), _ways(options)
    layer = layer_of(family, options.get("layer", ""))
    chosen = {"penalty": PENALTY, **options.get("options", {})}
    before = layers_up_to(family, layer)
    plug = new_plug(family.supernet, KIND, layers=before, seed=settings.seed, options=chosen)
    removed = [Removed(layer, attribute.numbers, ways)]
    for other in (modules[each] for each in options.get("beside", ())):
        both = crossed(attribute, _attribute_of(other, data))
        removed.append(Removed(layer, both.numbers, ways, other.plugs))
    trained = train_debiasing(
        family.supernet, plug, family.task, data, removed, settings, progress=options.get("progress")
    )
    facts = {
        ATTRIBUTE: attribute.name,
        VALUES: "\n".join(attribute.values),
        "cleaned": f"the input of {layer}",
        "by": ", ".join(f"{way} {weight:g}" for way, weight in ways.items()),
        "training data": f"{data.label}; fingerprint {data.fingerprint}",
        "steps": str(trained.steps),
        "training MACs": str(trained.macs_spent),
        "seed": str(settings.seed),
    }
    private = statistics_of(family.supernet, family.task, data, trained.plugs)
    return Module(name, trained.plugs, private, family.core.class_names, facts, removes=attribute.name)


def probed(
    family: Measurable,
    data: TensorData,
    held: TensorData,
    attributes: tuple[Attribute, Attribute],
    modules: Sequence[Module],
    layer: str,
) -> tuple[list[Record], dict[str, Seen]]:
    """Return the figures of every point with modules, and what each makes of the held-out samples."""
    found: list[Record] = []
    seen: dict[str, Seen] = {}
    for name, point in family.supernet.points.items():
        train, seen[name] = (seen_by(family, point, modules, each, layer) for each in (data, held))
        found += figures(point, scope_of(modules), *attributes, train, seen[name], held.fingerprint)
    return found, seen


def judged(
    family: Measurable, module: Module, data: TensorData, held: TensorData, attributes: tuple[Attribute, Attribute]
) -> list[Record]:
    """Return the figures of every point before and after a module, and the paired changes."""
    layer = module.facts["cleaned"].removeprefix("the input of ")
    before, plain = probed(family, data, held, attributes, [], layer)
    after, seen = probed(family, data, held, attributes, [module], layer)
    scope, told = scope_of([module]), [*before, *after]
    for name, point in family.supernet.points.items():
        told += changes(point, scope, attributes[1], plain[name], seen[name], held.fingerprint)
    return told


def checked(family: Measurable, source: Any, target: str) -> TensorData:
    """Return labelled data whose labels are the family's.

    Raises:
        InputError: The family is no classifier, or the target is another column than that of the labels.
        DataError: The data does not fit the network.
    """
    check_classifier(family)
    data = taken(source, family.core, family.task)
    columns = getattr(data, "columns", None)
    if target and (columns is None or target != columns.target):
        allowed = repr(columns.target) if columns is not None else "none, for data that is no table"
        raise InputError("target", asked=repr(target), allowed=allowed)
    return data


def held_attribute(data: TensorData, given: Any, name: str, trained: Attribute) -> Attribute:
    """Return the attribute of held-out samples, with the values of the training samples."""
    return attribute_of(data, given, name, trained.values)


def layers_up_to(family: Measurable, layer: str) -> list[str]:
    """Return the layers that a difference is put on: all that run before the representation, and its reader.

    Raises:
        InputError: None runs before it: the representation is the input itself.
    """
    kind, network, order = KINDS.get(KIND)(), family.supernet.module.eval(), list[str]()
    handles = [
        module.register_forward_pre_hook(lambda _module, _arguments, path=path: order.append(path))
        for path, module in network.named_modules()
        if kind.suits(module) or path == layer
    ]
    try:
        with torch.no_grad():
            network(*family.core.example_inputs)
    finally:
        for handle in handles:
            handle.remove()
    before = list(dict.fromkeys(order[: order.index(layer)])) if layer in order else []
    if not before:
        asked = f"the input of {layer!r}, which no linear layer or convolution makes"
        raise InputError("representation to be cleaned", asked=asked, allowed="the input of a later layer")
    return [*before, layer] if kind.suits(network.get_submodule(layer)) else before


def _attribute_of(module: Module, data: TensorData) -> Attribute:
    """Return the attribute that another module takes out, on this data."""
    if ATTRIBUTE not in module.facts:
        raise InputError("option beside", asked=f"{module.name!r}, which takes no attribute out", allowed="others")
    try:
        return attribute_of(data, module.facts[ATTRIBUTE], "", module.facts[VALUES].split("\n"))
    except (DataError, InputError) as error:
        do = "Train both on one table that has both attributes as columns."
        raise type(error)(f"option beside={module.name!r}: {error.where}", asked=error.asked, do=do) from error


def _ways(options: DebiasOptions) -> dict[str, float]:
    """Return ways of removal with their weights."""
    by, strength = options.get("by", ("hsic", "adversary")), options.get("strength", 1.0)
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= 1000:
        raise InputError("option strength", asked=repr(strength), allowed="above 0, up to 1000")
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names:
        raise InputError("option by", asked="none", allowed=", ".join(REMOVALS.names()))
    return {name: REMOVALS.get(name).weight * strength for name in names}


def _settings(options: DebiasOptions, samples: int) -> TrainSettings:
    """Return training settings: passes over the data that make enough steps, unless they are given."""
    settings = module_settings(options, DebiasOptions.__annotations__, {**USUAL, "epochs": USUAL_EPOCHS})
    if "epochs" in options:
        return settings
    steps = USUAL_STEPS * min(settings.batch_size, samples) / samples
    return replace(settings, epochs=max(USUAL_EPOCHS, steps))
