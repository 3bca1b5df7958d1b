"""`timm:` networks, from a folder or the hub's of that name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from concertina.errors import LoadError, some
from concertina.load.hub.base import LIBRARIES, MAX_VALUES, Found, Library, built
from concertina.load.hub.config import as_data
from concertina.load.hub.folder import fetched, licence_of, read_json, read_tensors, unlike
from concertina.load.weights import adopt_weights
from concertina.types import Preprocess

KEYS = {"architecture", "classes", "model_args"}


@LIBRARIES.register("timm", source="Wightman 2019, PyTorch Image Models", year=2019)
class Timm(Library):
    """Networks of timm: image classifiers."""

    scheme, extra, package = "timm", "timm", "timm"

    def load(self, name: str, *, random: bool) -> Found:
        """Return a network by name; see `Library.load`."""
        timm = self.imported()
        folder = fetched(name if Path(name).expanduser().exists() else _hub_name(timm, name))
        raw = read_json(folder / "config.json")
        told = raw.get("pretrained_cfg") if isinstance(raw.get("pretrained_cfg"), dict) else raw
        if not isinstance(raw.get("architecture"), str) or not isinstance(told, dict):
            raise LoadError(f"config.json of {str(folder)!r} names no architecture of timm")
        arguments = {
            "architecture": raw["architecture"],
            "classes": raw.get("num_classes", told.get("num_classes", 1000)),
            "model_args": _model_args(timm, raw.get("model_args") or {}),
        }
        module = self.build(arguments)
        if not random:
            adopt_weights(module, read_tensors(folder), name)
        names = raw.get("label_names") or told.get("label_names") or ()
        return Found(
            module,
            arguments,
            (torch.randn(2, *_input_size(told), generator=torch.Generator().manual_seed(0)),),
            task="classification",
            class_names=unlike([str(label) for label in names]),
            preprocess=Preprocess(1 / 255, *(tuple(map(float, told.get(key, ()))) for key in ("mean", "std"))),
            licence=licence_of(folder) or str(told.get("license", "")),
        )

    def build(self, arguments: Mapping[str, Any], most: int = MAX_VALUES) -> nn.Module:
        """Return an architecture from data; see `Library.build`."""
        timm = self.imported()
        if set(arguments) != KEYS:
            raise LoadError("arguments of a 'timm:' network", asked=some(arguments), allowed=", ".join(sorted(KEYS)))
        name, classes = arguments["architecture"], arguments["classes"]
        if name not in timm.list_models():
            raise LoadError("architecture of timm", asked=repr(name)[:100], allowed="a name in timm.list_models()")
        if type(classes) is not int or not 2 <= classes <= 10**6:
            raise LoadError("classes of a 'timm:' network", asked=repr(classes)[:60], allowed="2 or more")
        more = _model_args(timm, arguments["model_args"])
        return built(
            lambda: timm.create_model(name, pretrained=False, num_classes=classes, **more),
            f"'timm:' network {name}",
            most,
        )


def _hub_name(timm: Any, name: str) -> str:
    """Return the hub's name of a network: its default weights' where none are named."""
    if "/" in name:
        return name
    if name.partition(".")[0] not in timm.list_models():
        raise LoadError("network of timm", asked=repr(name), allowed="a folder, or a name in timm.list_models()")
    told = timm.get_pretrained_cfg(name)
    hub = getattr(told, "hf_hub_id", None)
    if not hub:
        raise LoadError(
            f"timm has no weights on the hub for {name!r}", allowed="a name with a tag, such as resnet18.a1_in1k"
        )
    return hub if hub.rpartition("/")[2] else f"{hub}{told.architecture}.{told.tag}"


def _model_args(timm: Any, given: object) -> dict[str, Any]:
    """Return arguments of an architecture; those of the function that fetches weights are none of them."""
    if not isinstance(given, dict):
        raise LoadError("model_args of a 'timm:' network", asked=type(given).__name__, allowed="an object")
    reserved = {*inspect.signature(timm.create_model).parameters, "features_only", "pretrained_strict"}
    strange = [name for name in given if name in reserved or not str(name).isidentifier() or "pretrained" in str(name)]
    if strange:
        raise LoadError(
            "model_args of a 'timm:' network", asked=some(map(repr, strange)), allowed="sizes of the network"
        )
    kept = as_data(given)
    return {name: kept[name] for name in given if name in kept}


def _input_size(told: Mapping[str, Any]) -> list[int]:
    size = told.get("input_size", [3, 224, 224])
    if not isinstance(size, list | tuple) or len(size) != 3 or not all(type(n) is int and 1 <= n <= 4096 for n in size):
        raise LoadError("input_size in config.json", asked=str(size)[:60], allowed="channels, height and width")
    return list(size)
