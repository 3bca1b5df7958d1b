"""The configuration of a model in Triton's repository, as protobuf text.

Source: Triton Inference Server, model configuration (message `inference.ModelConfig`); the text is written here, as
none of its few fields needs a package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from concertina.errors import ExportError

FREE = -1
"""A side of any length."""
LABELS = "labels.txt"
TYPES = {
    "FLOAT": "TYPE_FP32",
    "DOUBLE": "TYPE_FP64",
    "FLOAT16": "TYPE_FP16",
    "BFLOAT16": "TYPE_BF16",
    "INT8": "TYPE_INT8",
    "INT16": "TYPE_INT16",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "UINT8": "TYPE_UINT8",
    "BOOL": "TYPE_BOOL",
}
"""Name of an element type in ONNX -> Triton's name of it."""


@dataclass(frozen=True)
class Port:
    """One input or output of a model, as its file has it."""

    name: str
    dtype: str
    """Triton's name of the element type."""
    shape: tuple[int, ...]
    """All sides, the batch first; -1 for a free one."""


@dataclass(frozen=True)
class Ports:
    """All inputs and outputs of a model."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def batches(self) -> bool:
        """Whether the first side of every input and output is a free batch, so that calls can be joined."""
        return all(port.shape[:1] == (FREE,) for port in (*self.inputs, *self.outputs))


@dataclass(frozen=True)
class Served:
    """What is served under one name."""

    model: str
    ports: Ports
    max_batch: int
    """Most inputs in one call."""
    classes: int = 0
    """How many classes are named; 0 for none."""
    parameters: Mapping[str, str] | None = None
    """Plain facts for the configuration's parameters."""


def ports_of(model: Any, dtype_name: Any) -> Ports:
    """Return what an ONNX model takes and gives.

    Args:
        model: An `onnx.ModelProto`.
        dtype_name: Gives the name of an ONNX element type, such as "FLOAT".

    Raises:
        ExportError: Triton has no name for an element type.
    """
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_port(given, dtype_name) for given in model.graph.input if given.name not in held)
    return Ports(inputs, tuple(_port(given, dtype_name) for given in model.graph.output))


def _port(given: Any, dtype_name: Any) -> Port:
    tensor = given.type.tensor_type
    name = dtype_name(tensor.elem_type)
    if name not in TYPES:
        raise ExportError(f"Triton and {given.name!r}", asked=f"numbers of type {name}", allowed=", ".join(TYPES))
    sides = (side.dim_value if side.HasField("dim_value") else FREE for side in tensor.shape.dim)
    return Port(given.name, TYPES[name], tuple(sides))


def in_common(versions: Sequence[Ports]) -> Ports:
    """Return the inputs and outputs that suit every version: a side in which they differ is free.

    Raises:
        ExportError: They differ in more than the lengths of sides.

    Example:
        >>> one, other = (Ports((), (Port("output", "TYPE_FP32", (-1, size)),)) for size in (64, 128))
        >>> in_common([one, other]).outputs[0].shape
        (-1, -1)
    """
    kinds = {
        tuple((port.name, port.dtype, len(port.shape)) for port in (*ports.inputs, *ports.outputs))
        for ports in versions
    }
    if len(kinds) > 1:
        raise ExportError(
            "points with different inputs or outputs",
            asked=" and ".join(sorted(", ".join(name for name, *_ in kind) for kind in kinds)),
            allowed="the same in each, as versions of one model",
        )
    return Ports(_joined([p.inputs for p in versions]), _joined([p.outputs for p in versions]))


def _joined(versions: Sequence[Sequence[Port]]) -> tuple[Port, ...]:
    return tuple(
        Port(same[0].name, same[0].dtype, tuple(_side(sides) for sides in zip(*(p.shape for p in same), strict=True)))
        for same in zip(*versions, strict=True)
    )


def _side(lengths: Sequence[int]) -> int:
    return lengths[0] if len(set(lengths)) == 1 else FREE


def config_text(served: Served) -> str:
    """Return the text of `config.pbtxt`: every version is served, calls are joined where the network allows it.

    Example:
        >>> ports = Ports((Port("x", "TYPE_FP32", (-1, 4)),), (Port("output", "TYPE_FP32", (-1, 2)),))
        >>> print(config_text(Served("net", ports, 8)).splitlines()[0])
        name: "net"
    """
    batches = served.ports.batches
    lines = [
        f"name: {quoted(served.model)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {served.max_batch if batches else 0}",
        "version_policy { all { } }",
        *(f"input {{ {_tensor(port, batches)} }}" for port in served.ports.inputs),
        *(f"output {{ {_tensor(port, batches)}{_labels(port, served)} }}" for port in served.ports.outputs),
        *(["dynamic_batching { }"] if batches and served.max_batch > 1 else []),
        *_warm_up(served),
        *(
            f"parameters {{ key: {quoted(key)} value {{ string_value: {quoted(value)} }} }}"
            for key, value in (served.parameters or {}).items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _tensor(port: Port, batches: bool) -> str:
    """Return name, type and sides; Triton wants one side at least, so a number a sample is a row of one."""
    sides = port.shape[1:] if batches else port.shape
    shape = f"dims: [ {', '.join(map(str, sides))} ]" if sides else "dims: [ 1 ] reshape { shape: [ ] }"
    return f"name: {quoted(port.name)} data_type: {port.dtype} {shape}"


def _labels(port: Port, served: Served) -> str:
    """Return where the names of the classes stand, for the output that has a number for each."""
    named = served.classes and len(port.shape) == 2 and port.shape[-1] == served.classes
    return f" label_filename: {quoted(LABELS)}" if named else ""


def _warm_up(served: Served) -> Iterator[str]:
    """Yield one call with a single sample and one with as many as fit, for each version when it is loaded."""
    batches = served.ports.batches
    for size in sorted({1, served.max_batch if batches else 1}):
        inputs = " ".join(_zeros(port, batches) for port in served.ports.inputs)
        yield f'model_warmup {{ name: "batch {size}" batch_size: {size} {inputs} }}'


def _zeros(port: Port, batches: bool) -> str:
    sides = [1 if side == FREE else side for side in (port.shape[1:] if batches else port.shape)] or [1]
    shape = f"dims: [ {', '.join(map(str, sides))} ]"
    return f"inputs {{ key: {quoted(port.name)} value {{ data_type: {port.dtype} {shape} zero_data: true }} }}"


def quoted(text: str) -> str:
    r"""Return a text as protobuf's text format writes it.

    Example:
        >>> print(quoted('say "hi"\n'))
        "say \"hi\"\012"
    """
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(sign: str) -> str:
    if sign in '"\\':
        return f"\\{sign}"
    return f"\\{ord(sign):03o}" if sign < " " or sign == "\x7f" else sign
