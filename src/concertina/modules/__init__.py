"""Plug-in modules on a frozen core, one kind a file. Add one: write the file, import it here."""

from concertina.modules import affine, bottleneck, head, ia3, lora, output_head, prompt, sparse, token_head
from concertina.modules.base import KINDS, Follows, Kind, Owned, Places, checked_options, layers_for

__all__ = [
    "KINDS",
    "Follows",
    "Kind",
    "Owned",
    "Places",
    "affine",
    "bottleneck",
    "checked_options",
    "head",
    "ia3",
    "layers_for",
    "lora",
    "output_head",
    "prompt",
    "sparse",
    "token_head",
]
