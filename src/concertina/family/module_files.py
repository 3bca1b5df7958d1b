"""Modules as bytes: safetensors and plain data, checked against the family before anything is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from concertina.errors import (
    ConcertinaError,
    FormatError,
    HashError,
    HeaderError,
    InputError,
    ShapeError,
    StorageError,
    VersionError,
    some,
)
from concertina.family.modules import HALF, Module
from concertina.family.routing import Gaussian
from concertina.load import fingerprint
from concertina.modules import KINDS
from concertina.nest import Supernet
from concertina.nest.plugged import Plug, new_plug
from concertina.save.atomic import replacing
from concertina.train.calibrate import moving, shared_statistics

FORMAT = "concertina-module"
VERSION = 1
PLUG, PRIVATE, ROUTER = "plug.", "private.", "router."


def module_bytes(supernet: Supernet, module: Module) -> bytes:
    """Return a module as a file of its own: safetensors, and plain data about it.

    Args:
        supernet: The family that it was trained on.
        module: The module.
    """
    tensors = {f"{PLUG}{i}.{key}": t for i, plug in enumerate(module.plugs) for key, t in plug.tensors.items()}
    tensors |= {f"{PRIVATE}{p}.{key}": t for p, held in module.private.items() for key, t in held.items()}
    if module.router is not None:
        tensors |= {f"{ROUTER}{key}": t for key, t in module.router.tensors.items()}
    told = {
        "format": FORMAT,
        "version": VERSION,
        "name": module.name,
        "family": fingerprint(supernet.module),
        "plugs": [{"kind": p.kind, "options": dict(p.options), "layers": list(p.places)} for p in module.plugs],
        "class_names": list(module.class_names),
        "facts": dict(module.facts),
        "removes": module.removes,
        "router": module.router.point if module.router else "",
        "half": module.half,
    }
    content = {key: _stored(tensor.detach(), half=module.half).cpu().contiguous() for key, tensor in tensors.items()}
    told["sha256"] = _digest(content)
    return save(content, {"concertina": json.dumps(told)})


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    return tensor.to(HALF) if half and tensor.is_floating_point() else tensor


def save_module(supernet: Supernet, module: Module, path: Path) -> None:
    """Write a module to a file, whole or not at all.

    Raises:
        StorageError: The disk refuses.
    """
    data = module_bytes(supernet, module)
    with replacing(path) as file:
        file.write(data)


def read_module(supernet: Supernet, path: Path) -> Module:
    """Return the module in a file; nothing in it is executed, and nothing is left out in silence.

    Args:
        supernet: The family.
        path: The file.

    Raises:
        StorageError: The file cannot be read.
        FormatError: It is no module, damaged, of another version, or does not fit what it says it is.
        InputError: It was trained on another family.
    """
    try:
        if not path.is_file():
            raise StorageError(f"file {str(path)!r}", asked="no regular file", allowed="a module's file")
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"file {str(path)!r} cannot be read", asked=str(error)) from error
    where = f"module {str(path)!r}"
    told, tensors = _content(data, where)
    if told.get("family") != fingerprint(supernet.module):
        asked, do = "one that was trained on another family", "Open the family that it was trained on, or adapt anew."
        raise InputError(where, asked=asked, allowed="one of this family", do=do)
    return _module(supernet, told, tensors, where)


def module_within(supernet: Supernet, data: bytes, name: str, unread: Iterable[str] = ()) -> Module:
    """Return a module out of the family's own file; of points that are not here it has no statistics.

    Args:
        supernet: The family, as far as it is here.
        data: The module's bytes.
        name: What the family's file calls it.
        unread: Points of the file that are not here yet.

    Raises:
        FormatError: As `read_module`.
    """
    where = f"module {name!r} of the file"
    told, tensors = _content(data, where)
    statistics = moving(shared_statistics(supernet))
    for point in unread:
        for key in statistics:
            tensors.pop(f"{PRIVATE}{point}.{key}", None)
    return replace(_module(supernet, told, tensors, where), name=name)


def _module(supernet: Supernet, told: Mapping[str, Any], tensors: dict[str, Tensor], where: str) -> Module:
    """Return a module from what is told of it and its tensors, each of which must fit and be used."""
    names, facts = told.get("class_names"), told.get("facts")
    words = [told.get("name"), told.get("removes", ""), told.get("router", "")]
    if not _texts(names) or not isinstance(facts, dict) or not _texts([*facts, *facts.values(), *words]):
        raise HeaderError(where, asked="names or facts that are no texts", allowed="texts")
    half = told.get("half", False)
    if not isinstance(half, bool):
        raise HeaderError(where, asked=f"half: {half!r}"[:100], allowed="true or false")
    wanted = {key: _whole(supernet, key, tensor, where) for key, tensor in tensors.items()} if half else dict(tensors)
    plugs = tuple(_plug(supernet, i, each, wanted) for i, each in enumerate(told["plugs"]))
    private, router = _private(supernet, wanted), _router(words[2], wanted)
    if wanted:
        raise ShapeError(where, asked=f"tensor {next(iter(wanted))!r} beside its own", allowed="none")
    return Module(str(told["name"]), plugs, private, tuple(names or ()), facts, words[1], router, half)


def _whole(supernet: Supernet, key: str, tensor: Tensor, where: str) -> Tensor:
    """Return a tensor that was stored in 16 bits in the type that the network computes in."""
    if not tensor.is_floating_point():
        return tensor
    if tensor.dtype != HALF:
        raise ShapeError(f"tensor {key!r} of {where}", asked=str(tensor.dtype), allowed=str(HALF))
    return tensor.to(next(supernet.module.parameters()).dtype)


def _content(data: bytes, where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a module's bytes tell and hold, once format, version and hash are seen to be right."""
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        told = json.loads(header.get("__metadata__", {}).get("concertina", "{}"))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no sound safetensors file", asked=str(error)[:200]) from error
    if not isinstance(told, dict) or told.get("format") != FORMAT or not isinstance(told.get("plugs"), list):
        raise HeaderError(where, asked="no module", allowed=f"a file of format {FORMAT!r}")
    if told.get("version") != VERSION:
        raise VersionError("version of the module", asked=repr(told.get("version")), allowed=str(VERSION))
    if told.get("sha256") != _digest(tensors):
        raise HashError(where, asked="tensors of another hash than it says", allowed="those it says")
    return told, tensors


def _plug(supernet: Supernet, index: int, told: Any, tensors: dict[str, Tensor]) -> Plug:
    """Return a plug with the file's tensors, taken out of `tensors`."""
    where = f"plug {index} of the module"
    if not isinstance(told, dict) or not isinstance(told.get("options"), dict) or not _texts(told.get("layers")):
        raise HeaderError(where, asked="something else", allowed="kind, options and layers")
    try:
        rule, layers = KINDS.get(str(told.get("kind")))(), told["layers"]
        there = dict(supernet.module.named_modules())
        wrong = [path for path in layers if path not in there or not rule.suits(there[path])]
        if wrong or not layers or (rule.whole and layers != [""]):
            raise HeaderError(where, asked=f"layers {some(wrong or layers)}", allowed=f"layers that suit {rule.name!r}")
        made = new_plug(supernet, rule.name, layers=layers, options=told["options"], exact=True)
    except ConcertinaError as error:
        raise HeaderError(where, asked=str(error)) from error
    found = {key: _taken(tensors, f"{PLUG}{index}.{key}", tensor) for key, tensor in made.tensors.items()}
    return made.with_tensors(found)


def _private(supernet: Supernet, tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the moving statistics of every point, taken out of `tensors`; none where the file has none."""
    if not any(key.startswith(PRIVATE) for key in tensors):
        return {}
    found: dict[str, dict[str, Tensor]] = {}
    for point in supernet.points:
        own = moving(supernet.private[point] or shared_statistics(supernet))
        if not any(f"{PRIVATE}{point}.{key}" in tensors for key in own):
            continue  # a point that came after the module: plugging it in there is refused
        found[point] = {key: _taken(tensors, f"{PRIVATE}{point}.{key}", tensor) for key, tensor in own.items()}
    return found


def _router(point: str, tensors: dict[str, Tensor]) -> Gaussian | None:
    """Return what the router knows, taken out of `tensors`; None where the file has nothing of that."""
    if not point:
        return None
    width, count = (len(tensors.get(f"{ROUTER}{key}", ())) for key in ("mean", "directions"))
    shapes = {
        "mean": (width,),
        "scale": (width,),
        "directions": (count, width),
        "variances": (count + 1,),
        "limit": (1,),
    }
    found = {key: _taken(tensors, f"{ROUTER}{key}", torch.empty(shape, device="meta")) for key, shape in shapes.items()}
    for key in ("variances", "scale"):
        if not bool((found[key] > 0).all()):
            raise ShapeError(f"tensor '{ROUTER}{key}' of the module", asked="0 or less", allowed="above 0")
    return Gaussian(point, **found)


def _taken(tensors: dict[str, Tensor], key: str, like: Tensor) -> Tensor:
    tensor = tensors.pop(key, None)
    if tensor is None or tensor.shape != like.shape or tensor.dtype != like.dtype:
        asked = "none" if tensor is None else f"{tensor.dtype} of shape {tuple(tensor.shape)}"
        allowed = f"{like.dtype} of shape {tuple(like.shape)}"
        raise ShapeError(f"tensor {key!r} of the module", asked=asked, allowed=allowed)
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ShapeError(f"tensor {key!r} of the module", asked="NaN or infinite values", allowed="finite ones")
    return tensor


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all tensors: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
