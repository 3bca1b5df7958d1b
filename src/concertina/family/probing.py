"""What a family's representation tells of an attribute, and how well each group of it is served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from concertina.analyse.class_head import class_layer
from concertina.errors import AnalysisError, InputError, PointError
from concertina.family.attribute import Attribute
from concertina.family.evidence import Measurable
from concertina.family.modules import Module, plugged_view
from concertina.family.remarks import CHANGE
from concertina.load.data import TensorData, batches
from concertina.measure.leak import leak
from concertina.measure.machine import versions
from concertina.measure.quality import paired_difference
from concertina.objective.intervals import wilson
from concertina.train.debiasing import representation_of
from concertina.types import Point, Record

BATCH = 512


@dataclass(frozen=True, eq=False)
class Seen:
    """What one point makes of some samples."""

    representation: Tensor
    """(n, features)"""
    right: Tensor
    """Whether its answer is the label, (n,) bool."""


def scope_of(modules: Sequence[Module]) -> str:
    """Return the scope of Records of points with modules; empty for none.

    Example:
        >>> scope_of([])
        ''
    """
    names = ", ".join(module.name for module in modules)
    return f"module{'s' if len(modules) > 1 else ''} {names}" if modules else ""


def layer_of(family: Measurable, wanted: str = "") -> str:
    """Return the path of the layer whose input is the representation: the one that makes the classes unless said.

    Raises:
        InputError: There is no layer of that path.
        AnalysisError: No layer was found that makes the classes.
    """
    core, network = family.core, family.supernet.module.eval()
    if wanted:
        try:
            network.get_submodule(wanted)
        except AttributeError as error:
            paths = ", ".join(path for path, layer in network.named_modules() if path and not [*layer.children()])
            raise InputError("option layer", asked=repr(wanted), allowed=paths) from error
        return wanted
    with torch.no_grad():
        outputs = network(*core.example_inputs).shape[-1]
    try:
        return class_layer(core, network, outputs)
    except AnalysisError as error:
        do = "Name the layer whose input is to be cleaned with layer=."
        raise AnalysisError(error.where, asked=error.asked, do=do) from error


def seen_by(family: Measurable, point: Point, modules: Sequence[Module], data: TensorData, layer: str) -> Seen:
    """Return what a point with modules makes of samples.

    Args:
        family: The family.
        point: The point.
        modules: Plugged in one after the other; none for the plain point.
        data: Labelled samples.
        layer: Path of the layer whose input is the representation.

    Raises:
        PointError: The point has no such layer.
    """
    subnet = plugged_view(family.supernet, point.name, modules)
    right: list[Tensor] = []
    try:
        with representation_of(subnet, layer) as parts, torch.no_grad():
            right += [subnet(*family.task.inputs(b)).argmax(-1) == b[-1] for b in batches(data, BATCH)]
    except AttributeError as error:
        raise PointError(f"point {point.name!r}", asked=f"no layer {layer!r} in it", allowed="another layer") from error
    return Seen(torch.cat(parts), torch.cat(right))


def figures(
    point: Point, scope: str, attribute: Attribute, held: Attribute, train: Seen, asked: Seen, data: str
) -> Iterator[Record]:
    """Yield what is left of an attribute at a point, and the accuracy of everyone and of each group.

    Args:
        point: The point.
        scope: Of the records.
        attribute: Of the samples that probes learn from.
        held: Of those that they are asked on.
        train: What the point makes of the first.
        asked: What it makes of the second.
        data: Fingerprint of the second.
    """
    known, told = attribute.numbers >= 0, held.numbers >= 0
    found = leak(train.representation[known], attribute.numbers[known], asked.representation[told], held.numbers[told])
    plain = Record(point.spec.text, f"probe[{held.name}]", found.value, "share", scope=scope, data=data)
    plain = replace(plain, versions=versions())
    yield replace(plain, n=found.n, low=found.low, high=found.high)
    for metric, rows in _groups("accuracy", held):
        right, n = int(asked.right[rows].sum()), int(rows.sum())
        low, high = wilson(right, n)
        yield replace(plain, metric=metric, value=right / n, n=n, low=low, high=high)


def changes(point: Point, scope: str, held: Attribute, before: Seen, after: Seen, data: str) -> Iterator[Record]:
    """Yield how much more often a point is right than before, over all and in each group, with paired intervals."""
    for metric, rows in _groups(CHANGE, held):
        value, low, high = paired_difference(after.right[rows], before.right[rows])
        plain = Record(point.spec.text, metric, value, "share", int(rows.sum()), low, high, scope=scope, data=data)
        yield replace(plain, versions=versions())


def _groups(metric: str, held: Attribute) -> Iterator[tuple[str, Tensor]]:
    yield metric, torch.ones_like(held.numbers, dtype=torch.bool)
    for number, value in enumerate(held.values):
        yield f"{metric}[{held.name}={value}]", held.numbers == number
