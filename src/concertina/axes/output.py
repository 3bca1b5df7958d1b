"""Output: embeddings of which the first so many numbers are embeddings too."""

from __future__ import annotations

from torch import Tensor

from concertina.axes.base import AXES, AxisTags, SizingAxis
from concertina.types import Dim, Graph, Scores


@AXES.register("output", source="Kusupati et al., Matryoshka representation learning (arXiv:2205.13147)", year=2022)
class Output(SizingAxis):
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
