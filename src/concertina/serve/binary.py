"""The binary tensor extension: JSON first, then the tensors' bytes one after the other, without gaps.

Little-endian, row by row, nothing between. The length of the JSON stands in the header
`Inference-Header-Content-Length`, the length of each tensor in its parameter `binary_data_size`.

Source: Open Inference Protocol, binary tensor data extension.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from math import isfinite, prod
from typing import Any

import torch
from torch import Tensor

from concertina.errors import InputError

HEADER = "Inference-Header-Content-Length"
"""HTTP header that tells how long the JSON before the tensors is."""
SIZE = "binary_data_size"
"""Parameter of a tensor that tells how many bytes it has."""
DATATYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "BF16": torch.bfloat16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}
"""Names of the protocol for what torch computes with."""
NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], memoryview]:
    """Return the JSON object of a body, and the bytes behind it.

    Args:
        body: The whole body of a request.
        header_length: What the HTTP header says; None where it is not there: the body is all JSON.

    Raises:
        InputError: The length is none, or beyond the body; or what should be JSON is none.

    Example:
        >>> given, rest = split(b'{"inputs": []}abc', "14")
        >>> given, bytes(rest)
        ({'inputs': []}, b'abc')
    """
    length = len(body) if header_length is None else _length(header_length, len(body))
    try:
        given = json.loads(body[:length], parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        said = str(error)[:100] or type(error).__name__
        raise InputError("body of the request", asked=f"no JSON ({said})", allowed="a JSON object") from error
    if not isinstance(given, dict):
        raise InputError("body of the request", asked=f"a JSON {type(given).__name__}", allowed="a JSON object")
    return given, memoryview(body)[length:]


def join(answer: dict[str, Any], tensors: Sequence[bytes]) -> tuple[bytes, int]:
    """Return a body of JSON and tensors, and the length of the JSON."""
    header = json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()
    return b"".join((header, *tensors)), len(header)


def decoded(data: memoryview, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Return the tensor that some bytes are, as a copy; they are as many as it takes.

    Example:
        >>> decoded(memoryview(bytes([1, 0, 2, 0])), torch.int16, [2])
        tensor([1, 2], dtype=torch.int16)
    """
    if dtype == torch.bool:
        return decoded(data, torch.uint8, shape) != 0
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(tuple(shape))


def encoded(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor, row by row.

    Example:
        >>> list(encoded(torch.tensor([[1, 2]], dtype=torch.int16).T))
        [1, 0, 2, 0]
    """
    raw: bytes = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return raw


def from_json(data: object, dtype: torch.dtype, shape: Sequence[int], name: str) -> Tensor:
    """Return the tensor that a JSON list is, nested or flat.

    Args:
        data: The list.
        dtype: Of the tensor.
        shape: All sides.
        name: Of the input, for messages.

    Raises:
        InputError: It holds something else than such numbers, or not as many.
    """
    where = f"data of input {name!r}"
    flat = _flat(data, shape, where)
    kinds = {bool} if dtype == torch.bool else {int, float} if dtype.is_floating_point else {int}
    others = {type(value).__name__ for value in flat if type(value) not in kinds}
    if others:
        allowed = {bool: "true and false", int: "whole numbers"}[next(iter(kinds))] if len(kinds) == 1 else "numbers"
        raise InputError(where, asked=f"{', '.join(sorted(others))} values", allowed=allowed)
    refusal = InputError(where, asked="numbers out of range", allowed=f"those of {NAMES[dtype]}")
    try:
        tensor = torch.tensor(flat, dtype=dtype).reshape(tuple(shape))
    except (ValueError, OverflowError, RuntimeError) as error:
        raise refusal from error
    if dtype.is_floating_point and not bool(tensor.isfinite().all()):
        raise refusal
    return tensor


def to_json(tensor: Tensor) -> list[Any]:
    """Return a tensor as one flat list; what is no finite number is None, for which JSON has a word."""
    values = tensor.to(torch.float64) if tensor.is_floating_point() else tensor
    flat: list[Any] = values.flatten().tolist()
    if tensor.is_floating_point() and not bool(values.isfinite().all()):
        return [value if isfinite(value) else None for value in flat]
    return flat


def _length(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 16) or int(text) > most:
        allowed = f"a whole number up to {most}, the bytes of the body"
        raise InputError(f"HTTP header {HEADER}", asked=repr(text)[:50], allowed=allowed)
    return int(text)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _flat(data: object, shape: Sequence[int], where: str) -> list[Any]:
    """Return the values of a list that is flat, or nested as the shape says."""
    rows: list[Any] = [data]
    nested = isinstance(data, list) and bool(data) and isinstance(data[0], list)
    for side in shape if nested else (prod(shape),):
        if not all(isinstance(row, list) and len(row) == side for row in rows):
            raise InputError(where, asked="lists of other lengths", allowed=f"shape {list(shape)}, or all in one row")
        rows = list(chain.from_iterable(rows))
    return rows
