"""Outputs that can be cut: embeddings turned so that few numbers say much, and points with fewer outputs."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import InputError, PointError
from concertina.family.samples import sample_of
from concertina.load.core import fingerprint
from concertina.load.data import TensorData, batches
from concertina.nest import Supernet
from concertina.objective.base import TASKS, Task
from concertina.types import Core, Dim, Graph, Point, Space

SAMPLES = 4096
"""Most samples of the training data from which principal axes are taken."""
BATCH = 64
MIXED = 2 / 3
"""Share of the principal axes, the first ones, that are mixed with each other."""
UNCHANGED = 1e-3
"""Largest change of a cosine by the turn."""


def with_cut_outputs(core: Core, graph: Graph, task: Task, data: TensorData) -> tuple[Core, Graph]:
    """Return the core with its embeddings turned, and the graph with the sizes of the task.

    A turn changes no cosine and no distance, but first numbers of an embedding then say more. Principal axes alone put
    the coarse differences first and the fine ones last; so those that matter are mixed at random, and each number says
    a part of everything, while the last third of the axes, mostly noise, comes last.

    Args:
        core: The network as loaded; it is copied.
        graph: What was found in it.
        task: Its `outputs` are the sizes.
        data: Training data.

    Raises:
        InputError: No linear layer makes the outputs alone, or a size is not below their number.

    Source: principal components, Hotelling 1933, and random projections, Johnson and Lindenstrauss 1984; both together
        as a start of nested embeddings (arXiv:2205.13147), ours.
    """
    group = graph.output_group
    layer = core.module.get_submodule(group.name) if group is not None else None
    if group is None or not isinstance(layer, nn.Linear):
        raise InputError(
            "option outputs",
            asked="a network whose outputs no linear layer of their own makes",
            do="Put nn.Linear(n, n, bias=False) that holds the identity behind it.",
        )
    if max(task.outputs) >= group.units:
        raise InputError("option outputs", asked=str(max(task.outputs)), allowed=f"1 to {group.units - 1}")
    turned = copy.deepcopy(core.module)
    rows = _embeddings(core.module, task, data)
    _turn(turned.get_submodule(group.name), _mixed_axes(rows))
    _check_same_cosines(rows[:BATCH], _embeddings(turned, task, data)[:BATCH])
    return replace(core, module=turned, fingerprint=fingerprint(turned)), replace(graph, outputs=tuple(task.outputs))


def _embeddings(module: nn.Module, task: Task, data: TensorData) -> Tensor:
    """Return normalised embeddings (samples, features) of a sample of the data."""
    with torch.no_grad():
        found = [module(*task.inputs(batch)) for batch in batches(sample_of(data, SAMPLES // task.sides, 0), BATCH)]
    return nn.functional.normalize(torch.cat(found).double(), dim=-1)


def _mixed_axes(rows: Tensor) -> Tensor:
    """Return axes (features, features): the first two thirds of the principal ones, mixed at random, then the rest."""
    axes = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1).T.clone()
    count = max(1, round(MIXED * len(axes)))
    drawn = torch.randn(count, count, generator=torch.Generator().manual_seed(0), dtype=axes.dtype)
    axes[:count] = torch.linalg.qr(drawn)[0] @ axes[:count]
    return axes


def _turn(layer: Any, axes: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(axes.to(layer.weight.device) @ layer.weight.double())
        if layer.bias is not None:
            layer.bias.copy_(axes.to(layer.bias.device) @ layer.bias.double())


def _check_same_cosines(before: Tensor, after: Tensor) -> None:
    if float((before @ before.T - after @ after.T).abs().max()) > UNCHANGED:
        raise InputError(
            "option outputs", asked="a network that changes the outputs of its last layer", allowed="outputs as made"
        )


def output_dim(space: Space) -> Dim | None:
    """Return the dim that cuts the output; None where it stays whole."""
    return next((dim for dim in space.dims if dim.axis == "output"), None)


def task_for(core: Core, space: Space) -> Task:
    """Return the task of a core, with the sizes to which the space lets outputs be cut."""
    dim = output_dim(space)
    sizes = {"outputs": dim.choices[:-1]} if dim is not None else {}
    return TASKS.get(core.task)(core.class_names, core.preprocess, augment=core.augment, **sizes)  # type: ignore[call-arg]


def cut_name(name: str, space: Space) -> tuple[str, int | None]:
    """Return the name of a point without the number of outputs behind a colon, and that number.

    Example:
        >>> from concertina.types import Space
        >>> cut_name("p50:128", Space((Dim("output:head", "output", "head", (128, 384), ()),)))
        ('p50', 128)
    """
    plain, colon, number = name.rpartition(":")
    if output_dim(space) is None or not colon or not (number.isascii() and number.isdecimal() and len(number) < 10):
        return name, None
    return plain, int(number)


def cut_point(supernet: Supernet, point: Point, outputs: object) -> Point:
    """Return a point with fewer outputs, called "p50:128".

    Raises:
        PointError: The family's outputs stay whole, or do not come in this size.
    """
    dim = output_dim(supernet.space)
    if dim is None:
        raise PointError(
            "outputs of this family stay whole", asked=repr(outputs), do="Give the sizes to fit: outputs=(64, 128)."
        )
    if isinstance(outputs, bool) or outputs not in dim.choices:
        raise PointError("outputs", asked=repr(outputs), allowed=", ".join(map(str, dim.choices)))
    if outputs == dim.original:
        return point
    return supernet.point(f"{point.name}:{outputs}", point.spec.with_choice(dim.name, int(outputs)))


def cut_view(supernet: Supernet, point: Point, outputs: int | None) -> nn.Module:
    """Return a view of a point with so many outputs, all of them unless said; it has the point's own private tensors.

    Raises:
        PointError: As `cut_point`.
    """
    spec = point.spec if outputs is None else cut_point(supernet, point, outputs).spec
    return supernet.subnet(spec, supernet.private[point.name])
