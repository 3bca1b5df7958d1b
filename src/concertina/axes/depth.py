"""Depth: residual blocks that the network can do without."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from concertina.analyse.blocks import Skip
from concertina.axes.base import AXES, Axis, AxisTags
from concertina.types import Dim, Graph, Member, Scores, SubnetSpec


@AXES.register("depth", source="Stochastic depth (arXiv:1603.09382), elastic as in OFA (arXiv:1908.09791)", year=2016)
class Depth(Axis):
    """Residual blocks present (1) or skipped (0)."""

    name = "depth"
    tags = AxisTags(ordered=True, changes_shape=False, needs_attach=False, exportable=True)

    def dims(self, graph: Graph) -> list[Dim]:
        """Return one gate per skippable block; nested blocks need the blocks around them."""
        blocks = graph.elastic_blocks
        return [
            Dim(
                name=f"depth:{block.path}",
                axis="depth",
                target=block.path,
                choices=(0, 1),
                members=tuple(Member(tensor, -1, "gate") for tensor in block.tensors),
                needs=tuple(f"depth:{b.path}" for b in blocks if block.path.startswith(f"{b.path}.")),
                returns=block.returns,
            )
            for block in blocks
        ]

    def order(self, graph: Graph, scores: Scores) -> dict[str, Tensor]:
        """Return nothing: blocks stay where they are."""
        return {}

    def attach(self, module: nn.Module, graph: Graph) -> None:
        """Do nothing: the blocks are there."""

    def view(self, dims: tuple[Dim, ...], spec: SubnetSpec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors without those of skipped blocks."""
        gone = {member.tensor for dim in dims if spec[dim.name] == 0 for member in dim.members}
        return {name: tensor for name, tensor in tensors.items() if name not in gone}

    def slim(self, module: nn.Module, dims: tuple[Dim, ...], spec: SubnetSpec) -> None:
        """Put a `Skip` where a block is skipped."""
        for dim in dims:
            if spec[dim.name] == 0:
                parent, _, name = dim.target.rpartition(".")
                if any(spec[need] == 0 for need in dim.needs):
                    continue
                owner = module.get_submodule(parent)
                setattr(owner, name, Skip(getattr(owner, name), dim.returns).train(module.training))
