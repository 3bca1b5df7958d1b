"""Output: embeddings of which the first so many numbers are embeddings too."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from concertina.analyse.slicing import fix_sizes
from concertina.axes.base import AXES, Axis, AxisTags, narrow
from concertina.types import Dim, Graph, Scores, SubnetSpec


@AXES.register("output", source="Kusupati et al., Matryoshka representation learning (arXiv:2205.13147)", year=2022)
class Output(Axis):
    """Fewer numbers in the network's output; offered only in the sizes that were asked for."""

    name = "output"
    tags = AxisTags(ordered=True, changes_shape=True, needs_attach=False, exportable=True, costs_nothing=True)

    def dims(self, graph: Graph) -> list[Dim]:
        """Return one dim over the layer that makes the outputs, or none where the output stays whole."""
        group = graph.output_group
        if group is None or not graph.outputs:
            return []
        choices = (*(size for size in sorted(graph.outputs) if size < group.units), group.units)
        return [Dim(f"output:{group.name}", "output", group.name, choices, group.members, group.attributes)]

    def order(self, graph: Graph, scores: Scores) -> dict[str, Tensor]:
        """Return nothing: outputs keep their places, which mean something to whoever reads them."""
        return {}

    def attach(self, module: nn.Module, graph: Graph) -> None:
        """Do nothing: every network has its output."""

    def view(self, dims: tuple[Dim, ...], spec: SubnetSpec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return prefix views of the rows that make the outputs kept."""
        views = dict(tensors)
        for dim in dims:
            views = narrow(dim, spec[dim.name], views)
        return views

    def slim(self, module: nn.Module, dims: tuple[Dim, ...], spec: SubnetSpec) -> None:
        """Set declared sizes to the outputs kept."""
        for dim in dims:
            if spec[dim.name] != dim.original:
                fix_sizes(module, dim.attributes, spec[dim.name])
