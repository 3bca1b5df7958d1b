"""The one shape of an axis: a way in which a network can be made smaller.

An axis turns what `analyse` found into dims. A dim lists the tensor sides that follow it, and that list is all that
the builder, the cost model and the file need. An axis only adds what a list cannot say: how the units are ordered,
what has to be prepared, and which declared sizes or modules change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from concertina.analyse.factored import REDUCE
from concertina.analyse.slicing import fix_sizes, gathered
from concertina.registry import Registry
from concertina.types import Dim, Graph, Group, Scores, SubnetSpec, kept_ranges, length_of


@dataclass(frozen=True)
class AxisTags:
    """What an axis can do, for the support table and the contract suite."""

    ordered: bool
    """Whether a smaller choice is a prefix of a larger one."""
    changes_shape: bool
    """Whether the shapes of tensors change."""
    needs_attach: bool
    """Whether the core must be prepared before dims exist (factorised, quantised)."""
    exportable: bool
    """Whether a subnet is an ordinary network that exporters take."""
    costs_nothing: bool = False
    """Whether the choice hardly changes what a subnet costs: such dims are whole at every operating point, and chosen
    freely beside the size."""


class Axis(ABC):
    """A way to make a network smaller; final classes only, found through `AXES`."""

    name: str
    tags: AxisTags

    @abstractmethod
    def dims(self, graph: Graph) -> list[Dim]:
        """Return the dims this axis offers on `graph`."""

    @abstractmethod
    def order(self, graph: Graph, scores: Scores) -> dict[str, Tensor]:
        """Return group name -> permutation (units,) that puts the units in falling importance."""

    @abstractmethod
    def attach(self, module: nn.Module, graph: Graph) -> None:
        """Prepare `module` in place so that the dims exist on it."""

    @abstractmethod
    def view(self, dims: tuple[Dim, ...], spec: SubnetSpec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of the subnet: views of `tensors`, those that are gone left out."""

    @abstractmethod
    def slim(self, module: nn.Module, dims: tuple[Dim, ...], spec: SubnetSpec) -> None:
        """Change in place what a subnet built on the viewed tensors must declare or leave out."""


class SizingAxis(Axis):
    """What axes have in common whose dims make tensors shorter: prefix views, and declared sizes that follow them."""

    def attach(self, module: nn.Module, graph: Graph) -> None:
        """Do nothing: what is to be sized is there."""

    def view(self, dims: tuple[Dim, ...], spec: SubnetSpec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return prefix views of the units kept; copies of tensors that keep several runs of positions."""
        views = dict(tensors)
        for dim in dims:
            views = narrow(dim, spec[dim.name], views)
        for (name, side), ranges in kept_ranges(dims, spec).items():
            if name in views and views[name].shape[side] != length_of(ranges):
                views[name] = gathered(views[name], side, ranges)
        return views

    def slim(self, module: nn.Module, dims: tuple[Dim, ...], spec: SubnetSpec) -> None:
        """Set declared sizes (`out_channels` and the like) to the units kept."""
        for dim in dims:
            fix_sizes(module, dim.attributes, dim.original - spec[dim.name])


AXES: Registry[type[Axis]] = Registry("axis")


def narrow(dim: Dim, choice: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` with every side that follows `dim` alone cut to its first `choice` units.

    Args:
        dim: A dim that sizes its tensors.
        choice: Units kept.
        tensors: Tensor name -> tensor whose side `member.dim` is at least choice * positions long.

    Returns:
        The same names; changed ones are prefix views with gradient flow to the original.

    Example:
        >>> import torch
        >>> from concertina.types import Dim, Member
        >>> dim = Dim("width:a", "width", "a", (1, 2), (Member("w", 0, "out", positions=3),))
        >>> narrow(dim, 1, {"w": torch.zeros(6, 4)})["w"].shape
        torch.Size([3, 4])
    """
    cut = dict(tensors)
    for member in dim.members:
        tensor = cut.get(member.tensor)
        if member.of or tensor is None:
            continue
        if tensor.shape[member.dim] != choice * member.positions:
            cut[member.tensor] = torch.narrow(tensor, member.dim, 0, choice * member.positions)
    return cut


def chunk_choices(units: int) -> tuple[int, ...]:
    """Return the widths offered for a group: chunks of min(8, max(1, units // 8)) units.

    Example:
        >>> chunk_choices(64)
        (8, 16, 24, 32, 40, 48, 56, 64)
        >>> chunk_choices(10), chunk_choices(1)
        ((1, 2, 3, 4, 5, 6, 7, 8, 9, 10), (1,))
    """
    chunk = min(8, max(1, units // 8))
    return (*range(chunk, units, chunk), units)


def dim_of(group: Group, graph: Graph, *, axis: str, target: str) -> Dim:
    """Return the dim of a group's units, in chunks; a group inside a skippable block needs that block.

    Args:
        group: An elastic group.
        graph: What it was found in.
        axis: Name of the axis.
        target: What the dim is called after, behind the axis.
    """
    return Dim(
        name=f"{axis}:{target}",
        axis=axis,
        target=group.name,
        choices=chunk_choices(group.units),
        members=group.members,
        attributes=group.attributes,
        needs=blocks_around(group, graph),
    )


def blocks_around(group: Group, graph: Graph) -> tuple[str, ...]:
    """Return the depth dims of elastic blocks that hold every member of the group."""
    tensors = {member.tensor for member in group.members}
    return tuple(f"depth:{block.path}" for block in graph.elastic_blocks if tensors <= set(block.tensors))


def is_rank(group: Group, graph: Graph) -> bool:
    """Return whether the units of a group are the ranks of a layer written as two."""
    path, _, name = group.name.rpartition(".")
    return name == REDUCE and path in graph.factored
