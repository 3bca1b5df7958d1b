"""Training that goes on: a family that is there already is trained further, its sizes and its order kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from concertina.analyse.rewriting import as_loaded
from concertina.errors import InputError
from concertina.family.class_order import make_trainable
from concertina.family.family import Family
from concertina.family.opening import open as open_family
from concertina.family.options import FitOptions, task_of
from concertina.objective.base import Task
from concertina.train import Teacher
from concertina.types import Core

DECIDED = ("criterion", "order", "rehearsals", "worth", "ignore", "groups", "outputs")
"""Options that shape a family: one that is there has its shape."""
KEPT = ("criterion", "order", "rehearsal MACs", "rehearsals", "worth", "kept whole", "declared by hand", "factorised")
"""Facts of the provenance that stay true when a family is trained further."""
EARLIER, SEEN_EARLIER = "trained before", "training data before"


def check_start(options: FitOptions, *, points_given: bool) -> None:
    """Refuse what does not go with `start=`.

    Raises:
        InputError: The text names the option.
    """
    start = options.get("start")
    if start is None:
        return
    if not isinstance(start, Family | str | Path):
        raise InputError("option start", asked=repr(start), allowed="a family, or the path of its file")
    for name in (*DECIDED, *(("points",) if points_given else ())):
        if name in options or name == "points":
            raise InputError(
                f"option {name}", asked="with start=", allowed="one of both", do="A family there already has its shape."
            )


def family_to_go_on(core: Core, start: Family | str | Path, options: FitOptions) -> tuple[Family, Task]:
    """Return a copy of the family to train further, and the task.

    Args:
        core: The network that the family was made from, as loaded: it teaches.
        start: The family, or its file; it is not changed.
        options: May name another augmentation or task.

    Raises:
        InputError: The family was made from another network, is here in part only, or its outputs were cut.
        FormatError: The file is damaged.
    """
    family = start if isinstance(start, Family) else open_family(start, module=as_loaded(core).module)
    if not family.complete:
        raise InputError(
            "option start", asked="a family opened in part", allowed="a whole one", do="Call grow() first."
        )
    if family.core.fingerprint != core.fingerprint:
        raise InputError(
            "option start",
            asked=f"a family of another core ({family.core.fingerprint[:12]})",
            allowed=f"one that was made from this core ({core.fingerprint[:12]})",
            do="Give the network and the weights that the family was made from.",
        )
    if family.core.class_names != core.class_names:
        asked, allowed = "a family for other classes", "one for all classes of the core"
        raise InputError("option start", asked=asked, allowed=allowed, do="Train first, then choose classes.")
    if any(dim.axis == "output" for dim in family.supernet.space.dims):
        raise InputError(
            "option start",
            asked="a family with outputs that can be cut",
            allowed="others",
            do="Fit it anew, for longer.",
        )
    family.modules.say_left_behind()
    plain, structure = as_loaded(core), family.core
    core = replace(plain, module=structure.module, rewritten=structure.rewritten, augment=structure.augment)
    core = replace(core, teacher=plain.module if core.rewritten else None)
    task = task_of(core, options)
    supernet = copy.deepcopy(family.supernet)
    make_trainable(supernet, plain.module)
    return Family(
        replace(core, augment=task.augmentation), supernet, graph=family.graph, evidence=family.evidence, task=task
    ), task


def core_as_teacher(core: Core, family: Family) -> Teacher:
    """Return the core as what teaches a family that is no longer equal to it."""
    costs, space = family.supernet.costs, family.supernet.space
    return Teacher(as_loaded(core).module, costs.macs(space.full))


def facts_before(provenance: Mapping[str, str]) -> dict[str, str]:
    """Return what the provenance of a family says of the time before it is trained further.

    Example:
        >>> facts_before({"recipe": "sandwich", "training steps": "80", "seed": "0", "order": "criterion"})
        {'order': 'criterion', 'trained before': '80 steps of sandwich, seed 0'}
    """
    kept = {name: provenance[name] for name in KEPT if name in provenance}
    seen = [provenance[name] for name in (SEEN_EARLIER, "training data") if name in provenance]
    kept |= {SEEN_EARLIER: " | ".join(dict.fromkeys(seen))} if seen else {}
    if "recipe" not in provenance:
        return kept
    said = f"{provenance.get('training steps', '?')} steps of {provenance['recipe']}"
    more = (f"{provenance[name]} {name}" for name in ("epochs", "training MACs") if name in provenance)
    named = (f"{name} {provenance[name]}" for name in ("learning rate", "seed") if name in provenance)
    said = ", ".join((said, *more, *named))
    before = provenance.get(EARLIER)
    return kept | {EARLIER: f"{before}; then {said}" if before else said}
