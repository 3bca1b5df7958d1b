"""From names, files and modules to cores and data."""

from __future__ import annotations

from concertina.load.columns import Column, Columns, columns_from
from concertina.load.core import fingerprint, load
from concertina.load.data import ArrayData, TensorData, as_data, batches, check_fits, open_data
from concertina.load.hub import LIBRARIES, Library
from concertina.load.labelled_text import open_labelled_texts
from concertina.load.tabular import TableData, open_table
from concertina.load.tagged_text import open_tagged_texts
from concertina.load.text import open_texts
from concertina.load.tokens import open_tokenizer
from concertina.load.zoo import ZOO, ZooNetwork

__all__ = [
    "LIBRARIES",
    "ZOO",
    "ArrayData",
    "Column",
    "Columns",
    "Library",
    "TableData",
    "TensorData",
    "ZooNetwork",
    "as_data",
    "batches",
    "check_fits",
    "columns_from",
    "fingerprint",
    "load",
    "open_data",
    "open_labelled_texts",
    "open_table",
    "open_tagged_texts",
    "open_texts",
    "open_tokenizer",
]
