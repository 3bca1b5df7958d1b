"""Extract: one subnet as usual files that need no Concertina to load."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from concertina.analyse.factored import REDUCE, Factored
from concertina.errors import ExportError
from concertina.export.capture import capture, exporting
from concertina.export.staging import move_into, refuse_strangers, staging
from concertina.nest import materialize
from concertina.types import Point, Space

WEIGHTS, PLAN, PROGRAM = "model.safetensors", "slim.json", "model.pt2"


@dataclass(frozen=True)
class Extracted:
    """What an extraction wrote."""

    folder: Path
    files: tuple[str, ...]
    """Names of the files in the folder."""
    program_refused: str = ""
    """Why there is no `model.pt2`; empty when there is one."""


def extract(
    subnet: nn.Module,
    example_inputs: Sequence[Tensor],
    folder: Path,
    *,
    space: Space,
    point: Point,
    facts: Mapping[str, Any],
) -> Extracted:
    """Write a subnet as `model.safetensors`, `slim.json` and, where torch can export it, `model.pt2`.

    `slim.json` says what to change on the full architecture so that the weights load: the declared sizes of each
    module, and the blocks to take out. `model.pt2` is a whole program for `torch.export.load`.

    Args:
        subnet: A subnet, view or copy.
        example_inputs: What it is called with, each (batch, ...).
        folder: Where to write; made when missing. Files of an earlier extraction are replaced together.
        space: The family's dims.
        point: The operating point the subnet belongs to.
        facts: Further plain facts for `slim.json` (class names, preprocessing, source).

    Raises:
        StorageError: The disk refuses, or the folder holds something else.
    """
    free = materialize(subnet)
    refuse_strangers(folder, {WEIGHTS, PLAN, PROGRAM})
    with staging(folder) as place:
        refused = _write_all(free, example_inputs, place, _plan(free, space, point, facts))
        names = _replace(place, folder)
    return Extracted(folder, names, refused)


def _write_all(free: nn.Module, inputs: Sequence[Tensor], place: Path, plan: Mapping[str, Any]) -> str:
    tensors, aliases = _unique_tensors(free)
    (place / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
    program, refused = _exported(free, inputs)
    if program:
        (place / PROGRAM).write_bytes(program)
    text = json.dumps({**plan, "aliases": aliases, "program": refused or PROGRAM}, indent=1, sort_keys=True)
    (place / PLAN).write_text(text + "\n", encoding="utf-8")
    return refused


def _replace(place: Path, folder: Path) -> tuple[str, ...]:
    files = sorted(place.iterdir())
    for stale in {WEIGHTS, PLAN, PROGRAM} - {file.name for file in files}:
        (folder / stale).unlink(missing_ok=True)
    return tuple(file.name for file in move_into(folder, files))


def _unique_tensors(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the state dict with each tied tensor once, and alias -> name for the others."""
    first: dict[int, str] = {}
    tensors, aliases = {}, {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in first:
            aliases[name] = first[id(tensor)]
        else:
            first[id(tensor)] = name
            tensors[name] = tensor.detach().contiguous()
    return tensors, aliases


def _plan(module: nn.Module, space: Space, point: Point, facts: Mapping[str, Any]) -> dict[str, Any]:
    removed = [dim.target for dim in space.dims if dim.is_gate and point.spec[dim.name] == 0]
    gone = tuple(f"{path}." for path in removed)
    sizes: dict[str, dict[str, Any]] = {}
    for dim in space.dims:
        for attribute in dim.attributes:
            if attribute.module not in removed and not attribute.module.startswith(gone):
                value = getattr(module.get_submodule(attribute.module), attribute.attribute)
                sizes.setdefault(attribute.module, {})[attribute.attribute] = (
                    list(value) if isinstance(value, tuple) else value
                )
    return {
        "format": "concertina-slim",
        "version": 1,
        "point": point.name,
        "macs": point.macs,
        "params": point.params,
        "sizes": sizes,
        "removed_blocks": removed,
        "factored": _factored(module),
        **facts,
    }


def _factored(module: nn.Module) -> dict[str, Any]:
    """Return path -> how a layer is written as two: its name's children `reduce` and `expand`."""
    pairs = {path: layer for path, layer in module.named_modules() if isinstance(layer, Factored)}
    found = {}
    for path, pair in pairs.items():
        reads = pair.get_submodule(REDUCE).weight
        found[path] = {"way": pair.way, "rank": len(reads) if isinstance(reads, Tensor) else 0}
    return found


def _exported(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[bytes, str]:
    """Return the bytes of a `.pt2` with a free batch size, or none and why torch cannot.

    Torch writes to memory: of a disk that is full it would tell nothing, and some names of files end the process.
    """
    program = io.BytesIO()
    try:
        captured = capture(module, inputs)
        with exporting("torch.export", type(module).__name__):
            torch.export.save(captured, program)
    except ExportError as error:
        return b"", error.asked
    return program.getvalue(), ""
