"""From names, files and modules to cores and data."""

from __future__ import annotations

from concertina.load.core import fingerprint, load
from concertina.load.data import ArrayData, TensorData, as_data, batches, check_fits, open_data
from concertina.load.text import open_texts
from concertina.load.tokens import open_tokenizer
from concertina.load.zoo import ZOO, ZooNetwork

__all__ = [
    "ZOO",
    "ArrayData",
    "TensorData",
    "ZooNetwork",
    "as_data",
    "batches",
    "check_fits",
    "fingerprint",
    "load",
    "open_data",
    "open_texts",
    "open_tokenizer",
]
