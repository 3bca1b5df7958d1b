"""What is known of a tensor without its bytes: name, dtype text and full shape."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from concertina.errors import DtypeError, ShapeError
from concertina.save import strict

Array = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    text: np.dtype(code)
    for text, code in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": "<u2",
        "F8_E4M3": "u1",
        "F8_E5M2": "u1",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
        "U64": "<u8",
        "U32": "<u4",
        "U16": "<u2",
        "U8": "u1",
        "BOOL": "?",
        "C64": "<c8",
    }.items()
}
"""Dtype text -> how numpy holds it; BF16 and the 8-bit floats travel as raw unsigned integers."""

MAX_NDIM = 16
"""Most sides a tensor may have."""
MAX_SIDE = 2**40
"""Longest side of a tensor."""
MAX_BYTES = 2**48
"""Most bytes of one tensor, and of all tensors together."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the network at its full size."""

    name: str
    """Name as `named_parameters` and `named_buffers` give it."""
    dtype: str
    """Dtype text of safetensors: "F32", "BF16", "U8" ..."""
    shape: tuple[int, ...]
    """Full shape."""

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """How numpy holds the tensor (BF16 as uint16)."""
        return DTYPES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes at full size."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize

    def check(self, where: str) -> TensorInfo:
        """Return itself when name, dtype, shape and size are within the format's bounds.

        Raises:
            HeaderError: The name is no name, or a side no size.
            DtypeError: The dtype is unknown.
            ShapeError: Too many sides or bytes.
        """
        at = f"{where} {strict.name(self.name, where)!r}"
        check_dtype(self.dtype, at)
        if len(self.shape) > MAX_NDIM:
            raise ShapeError(at, asked=f"{len(self.shape)} sides", allowed=f"up to {MAX_NDIM}")
        strict.integers(self.shape, at, 0, MAX_SIDE)
        if self.nbytes > MAX_BYTES:
            raise ShapeError(at, asked=f"{self.nbytes} bytes", allowed=f"up to {MAX_BYTES}")
        return self

    def check_array(self, array: Array) -> None:
        """Raise unless `array` holds this tensor: same shape, and the numpy dtype that goes with `dtype`.

        Raises:
            ShapeError: Another shape, or no array.
            DtypeError: Another dtype.
        """
        if not isinstance(array, np.ndarray) or array.shape != self.shape:
            found = str(getattr(array, "shape", type(array).__name__))
            raise ShapeError(f"tensor {self.name!r}", asked=found, allowed=str(self.shape))
        if array.dtype != self.numpy_dtype:
            allowed = f"{self.numpy_dtype} for {self.dtype}"
            raise DtypeError(f"tensor {self.name!r}", asked=str(array.dtype), allowed=allowed)


def by_item_size(infos: Iterable[TensorInfo]) -> list[TensorInfo]:
    """Return the tensors in the order of their bytes in a blob: largest items first, else as they come."""
    return sorted(infos, key=lambda info: -info.numpy_dtype.itemsize)


def check_dtype(text: object, where: str) -> None:
    """Raise `DtypeError` unless `text` is a dtype of the format."""
    if not isinstance(text, str) or text not in DTYPES:
        raise DtypeError(where, asked=f"dtype {strict.brief(text)}", allowed=", ".join(DTYPES))


def dtype_text(dtype: np.dtype[Any], where: str) -> str:
    """Return the dtype text of a plain numpy dtype (uint16 is U16, never BF16).

    Raises:
        DtypeError: The format has no such dtype.
    """
    for text, known in DTYPES.items():
        if known == dtype and text not in ("BF16", "F8_E4M3", "F8_E5M2"):
            return text
    raise DtypeError(where, asked=str(dtype), allowed=", ".join(DTYPES))
