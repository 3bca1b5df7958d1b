"""A family for some of its classes: the same sizes and channels, the head cut to those classes."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from concertina.analyse.class_head import class_layer, cut_head
from concertina.analyse.rewriting import with_layers
from concertina.errors import InputError, did_you_mean
from concertina.family.evidence import Evidence
from concertina.load.data import OTHER
from concertina.measure.cost import CostModel
from concertina.nest import Supernet
from concertina.types import Dim, GrowthOrder, SizeAttribute, Space

if TYPE_CHECKING:
    from concertina.family.family import Family


ALL = "classes of the whole network"
"""Fact of the provenance that keeps the classes there were, as JSON."""


def kept_classes(names: Sequence[str], classes: Sequence[str], *, other: bool) -> list[int]:
    """Return the numbers of classes asked for by name.

    Args:
        names: All class names, in the order of the outputs.
        classes: Those to keep, in their new order.
        other: Whether there will be an output for all others.

    Raises:
        InputError: No names are known, one is unknown or doubled, or too few or too many are asked for.
    """
    if not names:
        raise InputError("classes", asked="a family without class names", do="Give class_names= to load.")
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise InputError("classes", asked=repr(classes), allowed="a list of class names")
    for name in classes:
        if name not in names:
            raise InputError("classes", asked=repr(name), allowed=", ".join(names), do=did_you_mean(name, names))
        if list(classes).count(name) > 1:
            raise InputError("classes", asked=f"{name!r} twice", allowed="each once")
    fewest = 1 if other else 2
    if not fewest <= len(classes) < len(names):
        raise InputError("classes", asked=f"{len(classes)} of {len(names)}", allowed=f"{fewest} to {len(names) - 1}")
    if other and OTHER in classes:
        raise InputError("classes", asked=f"a class called {OTHER!r}", allowed="others, beside an output of that name")
    return [list(names).index(name) for name in classes]


def family_for(family: Family, classes: Sequence[str], *, other: bool) -> tuple[Supernet, dict[str, Any]]:
    """Return the supernet with its head cut to some classes, and what changes in the core's facts.

    Args:
        family: The family, whole; it is not changed.
        classes: Names of the classes, in the order of the new outputs.
        other: Whether one more output stands for all other classes.

    Raises:
        InputError: The classes are none of this family's, or it is no classifier, here in part, or was cut before.
        AnalysisError: No layer was found that makes the classes.
    """
    core, supernet = family.core, family.supernet
    if core.task != "classification":
        raise InputError("classes", asked=f"a family for {core.task}", allowed="classifiers")
    if not family.complete:
        raise InputError("classes", asked="a family opened in part", allowed="a whole one", do="Call grow() first.")
    kept = kept_classes(core.class_names, classes, other=other)
    module = supernet.module.eval()
    path = class_layer(core, module, len(core.class_names))
    if path in core.rewritten:
        raise InputError("classes", asked="a family that was cut to classes before", allowed="the whole family")
    how, head = cut_head(module.get_submodule(path), kept, other=other)  # type: ignore[arg-type]
    structure = with_layers(core.module, {path: head})
    facts = {
        "module": structure,
        "class_names": (*classes, *((OTHER,) if other else ())),
        "all_classes": core.class_names,
        "rewritten": {**core.rewritten, path: how},
        "teacher": None,
    }
    dims = tuple(_with_rest(dim, path) for dim in supernet.space.dims) if other else supernet.space.dims
    space, cut = Space(dims), with_layers(module, {path: head})
    costs = CostModel.of(cut, core.example_inputs, space)
    made = Supernet(cut, GrowthOrder(space, supernet.order.steps), costs, supernet.permutations)
    for point in supernet.points.values():
        made.add(made.point(point.name, point.spec, point.position), copy.deepcopy(supernet.private[point.name]))
    return made, facts


def _with_rest(dim: Dim, path: str) -> Dim:
    """Return a dim that sizes the layer of the other classes as it sizes that of the kept."""
    members = [replace(m, tensor=f"{path}.rest.weight") for m in dim.members if m.tensor == f"{path}.weight"]
    sizes = [SizeAttribute(f"{path}.rest", s.attribute, s.positions) for s in dim.attributes if s.module == path]
    return replace(dim, members=(*dim.members, *members), attributes=(*dim.attributes, *sizes))


def for_classes(family: Family, classes: Sequence[str], *, other: bool = False) -> Family:
    """Return a family with the same points for some of the classes; see `Family.for_classes`."""
    supernet, facts = family_for(family, classes, other=other)
    family.modules.say_left_behind()
    core = replace(family.core, **facts)
    told = {
        "classes": f"{', '.join(classes)} (of {len(family.core.class_names)})",
        ALL: json.dumps(family.core.class_names, ensure_ascii=False),
    }
    evidence = Evidence(provenance={**family.evidence.provenance, **told})
    return type(family)(core, supernet, evidence=evidence)


def all_classes(provenance: Mapping[str, object]) -> tuple[str, ...]:
    """Return the classes of the network that a family for some of them came from; none for others."""
    try:
        names = json.loads(str(provenance.get(ALL, "[]")))
    except json.JSONDecodeError:
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()
