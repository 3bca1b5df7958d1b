"""The Open Inference Protocol, version 2: what requests and answers mean here. Subnets are its model versions.

Source: Open Inference Protocol (KServe); a server may choose the version where none is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from torch import Tensor

from concertina.errors import InputError, did_you_mean
from concertina.serve.binary import NAMES, SIZE, decoded, encoded, from_json, join, split, to_json
from concertina.serve.modules import described
from concertina.serve.session import Session
from concertina.serve.settings import Answer, Request
from concertina.serve.signature import Signature, Slot

EXTENSIONS = ("binary_tensor_data", "schedule_policy", "subnet_policy")
"""What is offered beyond the protocol itself."""
MOST_SIDES = 16
JSON_BYTES = 65_536
"""Bytes of JSON allowed beside the numbers of a request."""
NUMBER_BYTES = 32
"""Bytes allowed for one number in JSON."""
PARAMETERS = ("latency_budget_ms", "min_accuracy", "subnet", "module", "priority", "timeout", "binary_data_output")
"""Parameters of a request; `timeout` is in microseconds."""


@dataclass(frozen=True)
class Asked:
    """A request as it was read."""

    inputs: tuple[Tensor, ...]
    """In the order of the network's own."""
    request: Request
    identifier: str = ""
    """The request's own name for itself."""
    outputs: Mapping[str, bool] = field(default_factory=dict)
    """Output wanted -> whether as bytes."""


def largest_body(signature: Signature, samples: int) -> int:
    """Return the most bytes that a request of so many samples can have a use for."""
    return JSON_BYTES + NUMBER_BYTES * sum(slot.largest(samples) for slot in signature.inputs)


def read_request(body: bytes, header_length: str | None, signature: Signature, most: int, version: str = "") -> Asked:
    """Return what a request asks for. Nothing is allocated for a tensor before its size has been seen to fit.

    Args:
        body: The body.
        header_length: What the HTTP header of the binary extension says; None without it.
        signature: What the network takes and gives.
        most: Most samples of a request.
        version: The subnet named in the path; empty for none.

    Raises:
        InputError: The text says what is wrong and what is allowed.
    """
    given, rest = split(body, header_length)
    unknown = sorted(set(given) - {"id", "parameters", "inputs", "outputs"})
    if unknown:
        raise InputError("request", asked=repr(unknown[0])[:50], allowed="id, parameters, inputs, outputs")
    identifier = given.get("id", "")
    if not isinstance(identifier, str) or len(identifier) > 256:
        raise InputError("id", asked=repr(identifier)[:50], allowed="a text of up to 256 characters")
    parameters = _object(given.get("parameters", {}), "parameters")
    request = _request(parameters, version)
    outputs = _outputs(given.get("outputs"), parameters, signature.outputs)
    return Asked(_inputs(given.get("inputs"), rest, signature, most), request, identifier, outputs)


def written_answer(answer: Answer, asked: Asked, signature: Signature, model: str) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON where tensors follow; None where all is JSON."""
    listed, blobs = [], []
    for slot, tensor in zip(signature.outputs, answer.outputs, strict=True):
        if slot.name not in asked.outputs:
            continue
        entry: dict[str, Any] = {"name": slot.name, "datatype": NAMES[tensor.dtype], "shape": list(tensor.shape)}
        if asked.outputs[slot.name]:
            blobs.append(encoded(tensor))
            entry["parameters"] = {SIZE: len(blobs[-1])}
        else:
            entry["data"] = to_json(tensor)
        listed.append(entry)
    told = {
        "model_name": model,
        "model_version": answer.point,
        **({"id": asked.identifier} if asked.identifier else {}),
        "parameters": facts_of(answer),
        "outputs": listed,
    }
    body, length = join(told, blobs)
    return body, length if blobs else None


def facts_of(answer: Answer) -> dict[str, Any]:
    """Return what an answer tells of how it came about, as JSON values."""
    chosen = {"modules": ",".join(answer.modules)} if answer.modules else {}
    return chosen | {
        "subnet": answer.point,
        "why": answer.why,
        "predicted_ms": round(answer.predicted_ms, 3),
        "queue_ms": round(answer.queue_ms, 3),
        "compute_ms": round(answer.compute_ms, 3),
        "in_time": answer.in_time,
    }


def server_metadata(version: str) -> dict[str, Any]:
    """Return the answer to `GET /v2`."""
    return {"name": "concertina", "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(session: Session, model: str) -> dict[str, Any]:
    """Return the answer to `GET /v2/models/MODEL`: with the figures of every point."""
    times, core = session.times_ms, session.family.core
    return {
        "name": model,
        "versions": [point.name for point in session.points],
        "platform": f"concertina_{session.settings.runtime}",
        "inputs": [_slot(slot) for slot in session.signature.inputs],
        "outputs": [_slot(slot) for slot in session.signature.outputs],
        "parameters": {
            "max_batch": session.settings.max_batch,
            "class_names": list(core.class_names),
            "modules": list(session.family.modules),
            **described(session),
            "subnets": [
                {
                    "name": point.name,
                    "share": point.share,
                    "macs": point.macs,
                    "size_bytes": point.size_bytes,
                    "latency_ms": {str(batch): round(ms, 4) for batch, ms in times[point.name].items()},
                    "metrics": dict(point.metrics),
                }
                for point in session.points
            ],
        },
    }


def _slot(slot: Slot) -> dict[str, Any]:
    return {"name": slot.name, "datatype": NAMES[slot.dtype], "shape": list(slot.shape)}


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(what, asked=f"a JSON {type(value).__name__}", allowed="a JSON object")
    return value


def _objects(value: object, what: str, most: int) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not 0 < len(value) <= most:
        asked = f"{len(value)} of them" if isinstance(value, list) else f"a JSON {type(value).__name__}"
        raise InputError(what, asked=asked, allowed=f"a list of 1 to {most} JSON objects")
    return [_object(entry, f"{what}[{place}]") for place, entry in enumerate(value)]


def _request(parameters: Mapping[str, Any], version: str) -> Request:
    """Return what the parameters ask for; a subnet is named once."""
    for name in parameters:
        if name not in PARAMETERS:
            do = did_you_mean(name[:50], PARAMETERS)
            raise InputError("parameter", asked=repr(name)[:50], allowed=", ".join(PARAMETERS), do=do)
    given: Any = {name: value for name, value in parameters.items() if name not in ("timeout", "binary_data_output")}
    if version and given.setdefault("subnet", version) != version:
        raise InputError("subnet", asked=f"{given['subnet']!r:.50} and version {version!r}", allowed="one of both")
    if "timeout" in parameters:
        timeout = parameters["timeout"]
        if not isinstance(timeout, int) or isinstance(timeout, bool) or not 0 < timeout < 2**63:
            raise InputError("timeout", asked=repr(timeout)[:50], allowed="a whole number of microseconds above 0")
        given["timeout_ms"] = timeout / 1000
    return given


def _outputs(given: object, parameters: Mapping[str, Any], slots: Sequence[Slot]) -> dict[str, bool]:
    """Return the outputs wanted, in the network's order, and whether each is wanted as bytes."""
    binary = _flag(parameters, "binary_data_output", default=False)
    if given is None or given == []:
        return {slot.name: binary for slot in slots}
    names, wanted = [slot.name for slot in slots], {}
    for entry in _objects(given, "outputs", len(slots)):
        name = entry.get("name")
        if not isinstance(name, str) or name not in names or name in wanted:
            raise InputError("output", asked=repr(name)[:100], allowed=f"each once of {', '.join(names)}")
        wanted[name] = _flag(_object(entry.get("parameters", {}), "parameters"), "binary_data", default=binary)
    return wanted


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InputError(name, asked=repr(value)[:50], allowed="true or false")
    return value


def _inputs(given: object, rest: memoryview, signature: Signature, most: int) -> tuple[Tensor, ...]:
    """Return the tensors of a request, in the network's order; every byte belongs to one of them."""
    slots = {slot.name: slot for slot in signature.inputs}
    entries = _objects(given, "inputs", len(slots))
    checked: dict[str, tuple[Slot, dict[str, Any]]] = {}
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str) or name not in slots or name in checked:
            raise InputError("input", asked=repr(name)[:100], allowed=f"each once of {', '.join(slots)}")
        _check_entry(entry, slots[name], most)
        checked[name] = slots[name], entry
    if len(checked) < len(slots):
        raise InputError("inputs", asked=", ".join(checked), allowed=f"all of {', '.join(slots)}")
    signature.check_together([checked[name][1]["shape"] for name in slots])
    pieces = _pieces(checked, len(rest))
    tensors = {name: _tensor(*checked[name], rest, pieces.get(name)) for name in checked}
    return tuple(tensors[name] for name in slots)


def _check_entry(entry: Mapping[str, Any], slot: Slot, most: int) -> None:
    """Refuse the dtype or shape of an input; its numbers are not looked at."""
    datatype = entry.get("datatype")
    if datatype != NAMES[slot.dtype]:
        raise InputError(f"datatype of input {slot.name!r}", asked=repr(datatype)[:50], allowed=NAMES[slot.dtype])
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) > MOST_SIDES or not all(type(side) is int for side in shape):
        raise InputError(f"shape of input {slot.name!r}", asked=repr(shape)[:50], allowed=str(list(slot.shape)))
    slot.check(shape, most)


def _pieces(checked: Mapping[str, tuple[Slot, dict[str, Any]]], length: int) -> dict[str, slice]:
    """Return where the bytes of each binary input lie, in the order of the request."""
    start, found = 0, {}
    for name, (slot, entry) in checked.items():
        size = _object(entry.get("parameters", {}), "parameters").get(SIZE)
        if size is None:
            continue
        wanted = prod(entry["shape"]) * slot.dtype.itemsize
        if type(size) is not int or size != wanted:
            raise InputError(f"{SIZE} of input {name!r}", asked=repr(size)[:50], allowed=f"{wanted}, as its shape says")
        if "data" in entry:
            raise InputError(f"input {name!r}", asked=f"both data and {SIZE}", allowed="one of both")
        found[name] = slice(start, start + size)
        start += size
    if start != length:
        raise InputError("bytes after the JSON", asked=str(length), allowed=f"{start}, the sum of all {SIZE}")
    return found


def _tensor(slot: Slot, entry: Mapping[str, Any], rest: memoryview, piece: slice | None) -> Tensor:
    if piece is not None:
        return decoded(rest[piece], slot.dtype, entry["shape"])
    if "data" not in entry:
        raise InputError(
            f"input {slot.name!r}", asked="no data", allowed=f"data, or {SIZE} with the bytes behind the JSON"
        )
    return from_json(entry["data"], slot.dtype, entry["shape"], slot.name)
