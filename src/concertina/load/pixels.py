"""Encoded images as arrays of pixels, by Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concertina.errors import DataError
from concertina.load.sources.base import Progress, need

STARTS = ((b"RIFF", "WEBP"), (b"\x89PNG", "PNG"), (b"\xff\xd8", "JPEG"))
"""First bytes of the usual kinds; told the kind, Pillow opens small images twice as fast."""


def decode(cells: Iterable[tuple[str, bytes]], count: int, progress: Progress) -> NDArray[np.uint8]:
    """Return encoded images as one array, (n, height, width) grey or (n, height, width, 3) colour.

    Args:
        cells: (where it is from, bytes of the encoded image) pairs.
        count: How many there are.
        progress: Called now and then with the share done.

    Raises:
        DataError: An image cannot be decoded, or differs from the first in size or kind.
    """
    image = need("PIL.Image", "pillow", "data")
    result: NDArray[np.uint8] | None = None
    first = ""
    for row, (where, cell) in enumerate(cells):
        pixels = _pixels(image, where, cell)
        if result is None:
            result, first = np.empty((count, *pixels.shape), dtype=np.uint8), where
        if pixels.shape != result.shape[1:]:
            raise DataError(
                "images of different size or kind",
                asked=f"{_size(pixels)} in {where}",
                allowed=f"{_size(result[0])} as in {first}",
            )
        result[row] = pixels
        if row % 500 == 0:
            progress("decoding images", row / count)
    progress("decoding images", 1.0)
    return np.empty((0, 1, 1), dtype=np.uint8) if result is None else result


def _pixels(image: Any, where: str, cell: bytes) -> NDArray[np.uint8]:
    """Return one image as grey (height, width) or colour (height, width, 3)."""
    try:
        kind = next((kind for start, kind in STARTS if cell.startswith(start)), None)
        with image.open(io.BytesIO(cell), formats=kind and (kind,)) as opened:
            if opened.mode.startswith(("I", "F")):
                raise DataError(
                    f"{where} has pixels of more than 8 bits", asked=opened.mode, allowed="8 bits a channel"
                )
            return np.asarray(opened.convert("L" if opened.mode in ("1", "L", "LA") else "RGB"))
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError) as error:
        raise DataError(f"{where} is no sound image", asked=str(error)) from error


def _size(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]} {'grey' if pixels.ndim == 2 else 'colour'}"
