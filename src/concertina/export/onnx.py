"""ONNX: one file a subnet, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from concertina.errors import ExportError
from concertina.export.base import EXPORTERS, Exporter, ExporterTags, Program
from concertina.export.capture import exporting
from concertina.export.extras import need
from concertina.measure.latency import Runner

if TYPE_CHECKING:
    from torch.export import ExportedProgram

EXTRA = "onnx"
MAX_BYTES = 2**31 - 1
"""Most bytes that one ONNX file can hold."""
FOLD_LIMIT = 16
"""Only constants up to this many numbers are worked out when weights must stay as they are."""


@EXPORTERS.register("onnx", source="ONNX (onnx.ai) and ONNX Runtime, through torch.onnx")
class Onnx(Exporter):
    """ONNX, run by ONNX Runtime."""

    name = "onnx"
    suffix = ".onnx"
    tags = ExporterTags(free_batch=True, shares_weights=True)

    def require(self) -> None:
        """Raise `ExtraError` unless onnx, onnxscript and onnxruntime are installed."""
        need(EXTRA, "onnx", "onnxscript", "onnxruntime")

    def write(self, program: ExportedProgram, path: Path, facts: Mapping[str, str]) -> tuple[Path, ...]:
        """Write one file with its weights inside; arguments and errors as for `Exporter.write`."""
        path.write_bytes(serialised(with_facts(finished(to_onnx(program)), facts)))
        return (path,)

    def load(self, path: Path, threads: int | None = None) -> Program:
        """Return the file as a session of ONNX Runtime; arguments and errors as for `Exporter.load`.

        With threads given, they let go of their cores between calls: many sessions can stand side by side in one
        process, and none slows down what runs next.
        """
        (runtime,) = need(EXTRA, "onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            return OnnxProgram(runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))
        except Exception as error:  # ONNX Runtime raises classes of its own, one a kind of failure
            raise ExportError(f"ONNX Runtime refuses {path.name}", asked=str(error).split("\n")[0][:300]) from error


class OnnxProgram(Program):
    """A session of ONNX Runtime.

    Args:
        session: The session; inputs go in by the order of its own.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [given.name for given in session.get_inputs()]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for `inputs`, each (batch, ...)."""
        return tuple(torch.from_numpy(array) for array in self._session.run(None, self._feed(inputs)))

    def runner(self, *inputs: Tensor) -> Runner:
        """Return a callable that computes the outputs for `inputs`."""
        session, feed = self._session, self._feed(inputs)
        return lambda: session.run(None, feed)

    def _feed(self, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
        return {name: tensor.detach().contiguous().numpy() for name, tensor in zip(self._names, inputs, strict=True)}


def to_onnx(program: ExportedProgram) -> Any:
    """Return a captured subnet as an `onnx.ModelProto` that holds the subnet's own tensors, unchanged and by name.

    Only arithmetic on shapes is worked out beforehand; batch norms stay by themselves, so that the weights beside
    them are those of the family.

    Raises:
        ExtraError: The extra is not installed.
        ExportError: ONNX cannot express the network.
    """
    onnx, _, optimizer = need(EXTRA, "onnx", "onnxscript", "onnxscript.optimizer")
    with exporting("torch.onnx", "the subnet"):
        exported = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False)
        proto = exported.model_proto  # type: ignore[union-attr]
        optimizer.fold_constants(proto, onnx_shape_inference=True, input_size_limit=FOLD_LIMIT)
        optimizer.remove_unused_nodes(proto)
        _name_outputs(proto)
        _forget_origins(proto)
        onnx.checker.check_model(proto)
    return proto


def finished(proto: Any) -> Any:
    """Return a model with all that can be worked out beforehand worked out: batch norms folded into weights."""
    (optimizer,) = need(EXTRA, "onnxscript.optimizer")
    with exporting("onnxscript", "the subnet"):
        optimised = optimizer.optimize(proto)
        _forget_origins(optimised)
    return optimised


def with_facts(proto: Any, facts: Mapping[str, str]) -> Any:
    """Return a model with plain facts among its metadata, each under "concertina." and its name."""
    del proto.metadata_props[:]
    for key, value in sorted(facts.items()):
        proto.metadata_props.add(key=f"concertina.{key}", value=value)
    return proto


def serialised(proto: Any) -> bytes:
    """Return a model as the bytes of a file.

    Raises:
        ExportError: They are too many for one ONNX file.
    """
    size = proto.ByteSize()
    if size > MAX_BYTES:
        raise ExportError("an ONNX file with its weights inside", asked=f"{size:,} bytes", allowed=f"{MAX_BYTES:,}")
    made: bytes = proto.SerializeToString(deterministic=True)
    return made


def _name_outputs(proto: Any) -> None:
    """Call the outputs "output", or "output_0" and on where there are several."""
    outputs = proto.graph.output
    names = {given.name: "output" if len(outputs) == 1 else f"output_{place}" for place, given in enumerate(outputs)}
    taken = {given.name for given in proto.graph.input}
    if taken & set(names.values()) or len(names) < len(outputs):
        return
    for node in proto.graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    for given in outputs:
        given.name = names[given.name]


def _forget_origins(proto: Any) -> None:
    """Take out what the exporter noted of source files and paths, and shapes that runtimes find by themselves."""
    graph = proto.graph
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph):
        del part.metadata_props[:]
        part.doc_string = ""
