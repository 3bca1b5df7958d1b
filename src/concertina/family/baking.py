"""Points that leave the family with modules: merged into the weights, so that nothing of ours is needed to run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from torch import nn

from concertina.errors import InputError
from concertina.family.composing import composition
from concertina.family.evidence import Measurable
from concertina.family.modules import HEAD, Module, Modules
from concertina.family.probing import scope_of
from concertina.modules import KINDS
from concertina.types import Point


class Pluggable(Measurable, Protocol):
    """What a family with modules is to whoever exports its points."""

    modules: Modules

    def with_modules(self, point: str, modules: str | Sequence[str], *, merged: bool = False) -> nn.Module:
        """Return an operating point with modules plugged in."""


def baked(family: Pluggable, point: Point, modules: str, *, heads: bool) -> nn.Module:
    """Return a point as it leaves the family: with modules merged into copies of what they touch.

    Args:
        family: The family.
        point: The operating point.
        modules: Names, as for `Family.with_modules`; empty for the plain point.
        heads: Whether a module may bring a last layer of its own; files of weights have no place for it.

    Raises:
        UnknownNameError: There is no such module.
        InputError: A module adds computation, which cannot be merged; the text names it and its kind.
    """
    chosen = composition(family.modules, modules)
    for module in chosen:
        _check(module, heads=heads)
    return family.with_modules(point.name, modules, merged=True) if chosen else family.view(point.name)


def _check(module: Module, *, heads: bool) -> None:
    added = [plug.kind for plug in module.plugs if not plug.rule.mergeable and not (heads and plug.kind == HEAD)]
    if added:
        fitting = ", ".join(entry.name for entry in KINDS if entry.part.mergeable)
        raise InputError(
            f"module {module.name!r}, merged into a network that leaves the family",
            asked=f"kind {', '.join(added)}, which adds computation",
            allowed=f"changes of weights: {fitting}" + (f"; with {HEAD}" if heads else ""),
            do="'concertina serve' plugs it in by name.",
        )


def classes_with(family: Pluggable, modules: str) -> tuple[str, ...]:
    """Return the names of the classes that a point answers in: those of the module with a head, where there is one."""
    own = [module.class_names for module in composition(family.modules, modules) if module.heads]
    return own[0] if own else family.core.class_names


def point_with(family: Pluggable, point: Point, modules: str) -> Point:
    """Return a point with the figures that were measured with modules, in place of those of the plain point."""
    chosen = composition(family.modules, modules)
    if not chosen:
        return point
    found = [r for r in family.records if r.spec == point.spec.text and r.scope == scope_of(chosen)]
    return replace(point, metrics=()).with_metrics({record.metric: record.value for record in found})
