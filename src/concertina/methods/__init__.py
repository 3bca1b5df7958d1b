"""Which published methods are built in, and what shows that they work.

`methods.csv` lists the methods and their published claims. Status is computed, never written by hand: `evidence.csv`
names what shows a method (a test or a measured record), and registry entries name the methods they implement.
"""

from __future__ import annotations

from concertina.methods.parts import registries
from concertina.methods.table import FAMILIES, STATUSES, Evidence, Method, choose, load_evidence, load_methods

__all__ = [
    "FAMILIES",
    "STATUSES",
    "Evidence",
    "Method",
    "choose",
    "load_evidence",
    "load_methods",
    "registries",
]
