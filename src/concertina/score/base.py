"""The one shape of a criterion, and how its scores are brought together."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from concertina.analyse.blocks import skipping
from concertina.errors import AnalysisError, DataError
from concertina.objective.base import Task
from concertina.registry import Registry
from concertina.types import Batches, Core, Graph, Group, Member, Scores


class Criterion(ABC):
    """Rates every unit of every elastic group; final classes only, found through `CRITERIA`."""

    name: str
    needs_data: bool
    """Whether calibration batches are needed."""
    is_loss: bool
    """Whether a score estimates the rise of the loss when the unit is dropped."""

    @abstractmethod
    def score(
        self, module: nn.Module, graph: Graph, task: Task, batches: Batches, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return group name -> (units,) float tensor; larger is more important.

        Args:
            module: A copy of the core in eval mode that the criterion may use freely.
            graph: The verified groups and blocks.
            task: Gives inputs and loss.
            batches: Calibration batches; empty unless `needs_data`.
            generator: Source of all randomness.
        """


CRITERIA: Registry[type[Criterion]] = Registry("criterion")
MAKERS = ("out", "in", "depthwise", "tied")
"""Roles whose matrices make or read a group's units."""


def score(
    core: Core,
    graph: Graph,
    task: Task,
    batches: Sequence[Sequence[Tensor]],
    *,
    criterion: str,
    seed: int = 0,
    data_fingerprint: str = "",
) -> Scores:
    """Rate all units by one criterion, and all blocks by the measured rise of the loss.

    Args:
        core: The network.
        graph: Its verified groups and blocks.
        task: Gives inputs and loss.
        batches: Calibration batches, a list that can be read several times; may be empty for criteria without data.
        criterion: Name in `CRITERIA`.
        seed: Seed of the generator that the criterion gets.
        data_fingerprint: Fingerprint of the calibration data, kept with the scores.

    Raises:
        UnknownNameError: No such criterion.
        DataError: The criterion needs data and there is none.
        AnalysisError: A score is not finite.
    """
    rule = CRITERIA.get(criterion)()
    if rule.needs_data and not batches:
        raise DataError(f"criterion {criterion!r} needs calibration data", do="Give data, or use 'magnitude-l2'.")
    module = copy.deepcopy(core.module).eval()
    units = rule.score(module, graph, task, batches, torch.Generator().manual_seed(seed))
    for name, values in units.items():
        if not bool(torch.isfinite(values).all()):
            raise AnalysisError(f"criterion {criterion!r} gave a score that is not finite for group {name!r}")
    blocks = block_worth(core.module, graph, task, batches) if batches else {}
    return Scores(criterion, units, blocks, rule.is_loss, data_fingerprint)


def block_worth(module: nn.Module, graph: Graph, task: Task, batches: Sequence[Sequence[Tensor]]) -> dict[str, float]:
    """Return block path -> rise of the mean loss over `batches` when only that block is skipped."""
    with torch.no_grad():
        whole = _mean_loss(module, task, batches)
        rises = {}
        for block in graph.elastic_blocks:
            with skipping(module, [block]):
                rises[block.path] = _mean_loss(module, task, batches) - whole
    return rises


def _mean_loss(module: nn.Module, task: Task, batches: Sequence[Sequence[Tensor]]) -> float:
    losses = [float(task.loss(module(*task.inputs(batch)), batch)) * len(batch[-1]) for batch in batches]
    return sum(losses) / max(1, sum(len(batch[-1]) for batch in batches))


def per_unit(tensor: Tensor, member: Member, units: int) -> Tensor:
    """Return what `units` units own of a tensor, as (units, everything else).

    Example:
        >>> per_unit(torch.zeros(6, 4), Member("w", 0, "out", positions=3), 2).shape
        torch.Size([2, 12])
    """
    own = tensor.narrow(member.dim, member.start, units * member.positions)
    return own.movedim(member.dim, 0).reshape(units, -1)


def member_tensors(group: Group, tensors: Mapping[str, Tensor], roles: Sequence[str]) -> list[Tensor]:
    """Return the sides of a group with one of `roles`, each as (units, everything else)."""
    return [
        per_unit(tensors[member.tensor], member, group.units)
        for member in group.members
        if member.role in roles and member.tensor in tensors
    ]


def relative_norms(module: nn.Module, graph: Graph, order: int) -> dict[str, Tensor]:
    """Return group -> (units,): each unit's norm, averaged over the group's matrices, each scaled to mean 1.

    Args:
        module: The network.
        graph: Its verified groups.
        order: 1 for absolute sums, 2 for Euclidean norms.
    """
    weights = {name: p.detach() for name, p in module.named_parameters() if p.dim() > 1}
    scores = {}
    for group in graph.elastic_groups:
        sides = [side.float().norm(p=order, dim=1) for side in member_tensors(group, weights, MAKERS)]
        scaled = [side / side.mean().clamp_min(1e-12) for side in sides]
        scores[group.name] = torch.stack(scaled).mean(0) if scaled else torch.ones(group.units)
    return scores


@dataclass(frozen=True, eq=False)
class Reading:
    """What one layer read of a group's units, in one call."""

    layer: nn.Module
    member: Member
    """The side of the layer's matrix that reads the units."""
    units: int
    """How many units the group has."""
    values: Tensor
    """What the layer was given, of its own shape; an alias, so that a gradient by it is this call's alone."""

    def by_unit(self, tensor: Tensor) -> Tensor:
        """Return `tensor`, shaped as `values`, as (batch, units, everything else)."""
        dim = 1 if isinstance(self.layer, _ConvNd) else -1
        rows = tensor.movedim(dim, 1) if tensor.dim() > 1 else tensor[None]
        own = rows.narrow(1, self.member.start, self.units * self.member.positions)
        return own.reshape(len(rows), self.units, -1)

    def weights(self) -> Tensor:
        """Return what reads each unit of the layer's matrix, (units, everything else)."""
        return per_unit(self.layer.weight.detach(), self.member, self.units)  # type: ignore[operator]


@contextmanager
def readings(module: nn.Module, graph: Graph) -> Iterator[dict[str, list[Reading]]]:
    """Collect what the layers read of every elastic group while `module` runs.

    Yields:
        Group name -> readings, one a call of a layer with an "in" member of the group; empty it between batches. A
        group that no layer reads through a matrix of its own gets none.
    """
    found: dict[str, list[Reading]] = {group.name: [] for group in graph.elastic_groups}
    owners = owners_of(module)
    with ExitStack() as hooks:
        for group in graph.elastic_groups:
            for member in group.members:
                for layer in owners.get(member.tensor, ()) if member.role == "in" else ():
                    hook = layer.register_forward_pre_hook(_note(found[group.name], member, group.units))
                    hooks.callback(hook.remove)
        yield found


def _note(found: list[Reading], member: Member, units: int) -> Any:
    def note(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Keep what a layer reads, and hand it an alias."""
        alias = arguments[0].view_as(arguments[0])
        found.append(Reading(layer, member, units, alias))
        return (alias, *arguments[1:])

    return note


def owners_of(module: nn.Module) -> dict[str, list[nn.Module]]:
    """Return name of a tensor -> the convolutions and linear layers whose weight it is."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    owners: dict[str, list[nn.Module]] = {}
    for layer in module.modules():
        weight: Any = getattr(layer, "weight", None)
        if id(weight) in names and weight.dim() > 1 and not isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            owners.setdefault(names[id(weight)], []).append(layer)
    return owners
