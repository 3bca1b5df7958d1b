"""All points of a family as small ONNX graphs over one file of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concertina.export.extras import need
from concertina.export.onnx import EXTRA, finished, serialised, to_onnx, with_facts
from concertina.export.packing import Array, Packing, Place, pack

if TYPE_CHECKING:
    from torch.export import ExportedProgram

WEIGHTS = "weights.bin"
"""Name of the shared file; graphs name it and lie in the same folder."""
MIN_BYTES = 128
"""Smaller tensors stay inside the graph, where runtimes look for shapes."""
FOLDED = "BatchNormalization"
"""Operation that a finished graph folds into the weights before it, which are a point's own then and not shared."""


@dataclass(frozen=True)
class SharedExport:
    """What lies in a folder of points that share their weights."""

    folder: Path
    graphs: Mapping[str, Path]
    """Point -> its graph."""
    weights: Path
    graph_bytes: int
    """Bytes of all graphs."""
    weight_bytes: int
    separate_bytes: int
    """Bytes that one file a point would take, weights inside."""

    @property
    def saved_bytes(self) -> int:
        """Bytes that sharing saves."""
        return self.separate_bytes - self.graph_bytes - self.weight_bytes


class SharedGraphs:
    """Collects points one by one, then writes them over one file of weights."""

    def __init__(self) -> None:
        self._graphs: dict[str, Any] = {}
        self._separate_bytes = 0

    def add(self, name: str, program: ExportedProgram, facts: Mapping[str, str]) -> None:
        """Take a point; raises like `Exporter.write`.

        Args:
            name: Name of the point.
            program: The point as `capture` gives it.
            facts: Plain facts that its graph carries along.
        """
        plain = to_onnx(program)
        separate = with_facts(finished(_copy(plain)), facts)
        self._separate_bytes += len(serialised(separate))
        folds = any(node.op_type == FOLDED for node in plain.graph.node)
        self._graphs[name] = with_facts(plain, facts) if folds else separate

    def write(self, folder: Path) -> SharedExport:
        """Write every point as NAME.onnx and all weights as weights.bin into `folder`, which is there already."""
        (numpy_helper,) = need(EXTRA, "onnx.numpy_helper")
        held = {name: _large_tensors(graph, numpy_helper) for name, graph in self._graphs.items()}
        packing = pack(held)
        _write_chunks(folder / WEIGHTS, packing)
        paths: dict[str, Path] = {}
        for name, graph in self._graphs.items():
            made = _over_shared_weights(graph, packing.places[name])
            paths[name] = folder / f"{name}.onnx"
            paths[name].write_bytes(serialised(made))
        graph_bytes = sum(path.stat().st_size for path in paths.values())
        return SharedExport(folder, paths, folder / WEIGHTS, graph_bytes, packing.num_bytes, self._separate_bytes)


def _write_chunks(path: Path, packing: Packing) -> None:
    with path.open("wb") as file:
        for chunk in packing.chunks():
            file.write(chunk)


def _copy(proto: Any) -> Any:
    made = type(proto)()
    made.CopyFrom(proto)
    return made


def _large_tensors(graph: Any, numpy_helper: Any) -> dict[str, Array]:
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    return {name: array for name, array in arrays.items() if array.nbytes >= MIN_BYTES}


def _over_shared_weights(proto: Any, places: Mapping[str, Place]) -> Any:
    """Return a model that reads its large tensors from the shared file, turned and cut where they need it."""
    made = _copy(proto)
    graph = made.graph
    (helper,) = need(EXTRA, "onnx.helper")
    fixing = []
    for tensor in graph.initializer:
        place = places.get(tensor.name)
        if place is None:
            continue
        wanted = tensor.name
        if not place.is_prefix:
            tensor.name = f"{wanted}/stored"
            fixing.append((wanted, place))
        _point_to_file(tensor, place)
    nodes = [node for wanted, place in fixing for node in _fix(graph, helper, wanted, place)]
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *kept])
    return made


def _point_to_file(tensor: Any, place: Place) -> None:
    """Let an initializer lie in the shared file."""
    for content in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(content)
    tensor.dims[:] = place.stored
    tensor.data_location = tensor.EXTERNAL
    for key, value in (("location", WEIGHTS), ("offset", place.offset), ("length", place.num_bytes)):
        tensor.external_data.add(key=key, value=str(value))


def _fix(graph: Any, helper: Any, wanted: str, place: Place) -> list[Any]:
    """Return the nodes that make tensor `wanted` of what is stored; runtimes work them out once, when loading."""
    current, nodes = f"{wanted}/stored", []
    ends = [place.shape[side] for side in place.sides]
    if tuple(ends) != place.stored:
        numbers = {"starts": [0] * len(ends), "ends": ends, "axes": list(range(len(ends)))}
        names = [f"{wanted}/{key}" for key in numbers]
        for name, values in zip(names, numbers.values(), strict=True):
            graph.initializer.append(helper.make_tensor(name, 7, [len(values)], values))
        cut = f"{wanted}/cut" if place.sides != tuple(range(len(ends))) else wanted
        nodes.append(helper.make_node("Slice", [current, *names], [cut], name=f"{wanted}/slice"))
        current = cut
    if current != wanted:
        order = [place.sides.index(side) for side in range(len(place.sides))]
        nodes.append(helper.make_node("Transpose", [current], [wanted], name=f"{wanted}/transpose", perm=order))
    return nodes
