"""Plug-in modules on a frozen core, one kind a file. Add one: write the file, import it here."""

from concertina.modules import affine, bottleneck, lora, sparse
from concertina.modules.base import KINDS, Follows, Kind, Owned, Places, layers_for
from concertina.modules.plug import attach, deltas

__all__ = [
    "KINDS",
    "Follows",
    "Kind",
    "Owned",
    "Places",
    "affine",
    "attach",
    "bottleneck",
    "deltas",
    "layers_for",
    "lora",
    "sparse",
]
