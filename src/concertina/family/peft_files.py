"""PEFT's adapters as modules of a family and back: in the family's order here, in the core's there."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from concertina.analyse.class_head import class_layer
from concertina.analyse.layers import is_transposed_linear
from concertina.errors import InputError, ShapeError, UnknownNameError, did_you_mean, some
from concertina.family.evidence import Measurable
from concertina.family.modules import HEAD, Module
from concertina.family.peft_format import IA3, LORA, Adapter, read_adapter, write_adapter
from concertina.load import fingerprint
from concertina.modules import KINDS
from concertina.nest import Supernet
from concertina.nest.core_order import as_loaded, plug_in_order
from concertina.nest.plugged import BETWEEN, Plug, new_plug

log = logging.getLogger("concertina")
WRAPPED = "network."
"""What stands before the paths of a library's network here, and not in the library."""


def peft_module(family: Measurable, folder: Path, name: str, class_names: Sequence[str] = ()) -> Module:
    """Return a PEFT adapter as a module of a family; see `Plugging.load_peft`."""
    supernet = family.supernet
    adapter = read_adapter(folder)
    paths = {path: _own_path(family, adapter.kind, path) for path in (*adapter.layers, *adapter.tables)}
    _check_targets(adapter, supernet.module, paths)
    for path, table in adapter.tables.items():
        _check_same_table(supernet, paths[path], table)
    plugs = _lora_plugs(supernet, adapter, paths) if adapter.kind == LORA else _ia3_plugs(supernet, adapter, paths)
    head, names = _head(family, adapter.saved, tuple(class_names))
    plugs = [plug_in_order(supernet, plug, of="family") for plug in [*plugs, *head]]
    if not _is_as_loaded(family):
        log.warning("adapter %r was made for the core as loaded; the family's weights have been trained since", name)
    facts = {"adapter": f"{adapter.kind} of PEFT, {len(adapter.layers)} layers"}
    return Module(name, tuple(plugs), {}, names, facts)


def _is_as_loaded(family: Measurable) -> bool:
    """Return whether the family's weights are those of the core; not known of layers that were rewritten."""
    return bool(family.core.rewritten) or fingerprint(as_loaded(family.supernet)) == family.core.fingerprint


def save_peft_module(family: Measurable, module: Module, folder: Path) -> None:
    """Write a module as a PEFT adapter of the core as loaded; see `Plugging.save_peft`."""
    kinds = {plug.kind for plug in module.plugs}
    where = f"module {module.name!r} as a PEFT adapter"
    if kinds - {HEAD} not in ({LORA}, {IA3}):
        raise InputError(where, asked=" + ".join(sorted(kinds)), allowed=f"{LORA} or {IA3}, and a {HEAD}")
    if module.private:
        do = "Save it with save_module."
        raise InputError(where, asked="normalisation statistics of its own", allowed="none", do=do)
    if not _is_as_loaded(family):
        told = "module %r was made for weights trained since the core was loaded: on that core PEFT answers otherwise"
        log.warning(told, module.name)
    changes = [plug for plug in module.plugs if plug.kind != HEAD]
    used = [path for plug in changes for path in plug.places]
    twice = [path for path in used if used.count(path) > 1]
    if twice:
        raise InputError(where, asked=f"two changes of layer {twice[0]!r}", allowed="one of each layer")
    for plug in changes:
        for path in plug.places:
            _check_layer(family, plug.kind, path)
    ordered = [plug_in_order(family.supernet, plug, of="core") for plug in module.plugs]
    adapter = _as_adapter(family.supernet.module, ordered)
    layers = dict(family.supernet.module.named_modules())
    facts = {
        "fan_in_fan_out": any(is_transposed_linear(layers[path]) for path in used),
        "base_model_name_or_path": family.core.source.partition(":")[2] if _is_wrapped(family) else None,
    }
    paths = [_their_path(family, path) for path in layers if path]
    write_adapter(folder, _renamed(adapter, lambda path: _their_path(family, path)), paths, facts)


def _lora_plugs(supernet: Supernet, adapter: Adapter, paths: Mapping[str, str]) -> list[Plug]:
    """Return one plug for the layers of each rank and strength."""
    alike: dict[tuple[int, float], list[str]] = {}
    for path, parts in adapter.layers.items():
        is_embedding = isinstance(supernet.module.get_submodule(paths[path]), nn.Embedding)
        if is_embedding != (path in adapter.embeddings):
            asked = "an embedding's" if path in adapter.embeddings else "no embedding's"
            raise ShapeError(f"tensors of layer {path!r} of the adapter", asked=asked, allowed="those of its kind")
        alike.setdefault((parts["A"].shape[0], adapter.scales[path]), []).append(path)
    found = []
    for (rank, scale), members in alike.items():
        options = {"rank": rank, "alpha": scale * rank}
        plug = new_plug(supernet, LORA, layers=[paths[path] for path in members], options=options, exact=True)
        given = {paths[path]: adapter.layers[path] for path in members}
        found.append(_filled(plug, {path: {"A": p["A"], "B": _thin(p["B"])} for path, p in given.items()}))
    return found


def _ia3_plugs(supernet: Supernet, adapter: Adapter, paths: Mapping[str, str]) -> list[Plug]:
    """Return a plug for the layers whose outputs are scaled, and one for those whose inputs are."""
    found = []
    for inputs in (False, True):
        members = {paths[path]: parts for path, parts in adapter.layers.items() if (path in adapter.inputs) == inputs}
        if members:
            plug = new_plug(supernet, IA3, layers=[*members], options={"inputs": inputs}, exact=True)
            for path, parts in members.items():
                wanted = _scale_shape(supernet.module.get_submodule(path), plug.places[path]["change"].tensor, inputs)
                _check_shape(f"{path}.ia3_l", parts["scale"], wanted)
            given = {path: {"change": parts["scale"].flatten() - 1} for path, parts in members.items()}
            found.append(_filled(plug, given))
    return found


def _filled(plug: Plug, given: Mapping[str, Mapping[str, Tensor]]) -> Plug:
    """Return a plug with the tensors of an adapter, each checked and in the dtype of its layer."""
    values = {}
    for key, like in plug.tensors.items():
        path, _, name = key.rpartition(BETWEEN)
        _check_shape(f"{path}.{name if plug.kind == IA3 else f'lora_{name}'}", given[path][name], tuple(like.shape))
        values[key] = given[path][name].to(like)
    return plug.with_tensors(values)


def _head(
    family: Measurable, saved: Mapping[str, Tensor], class_names: tuple[str, ...]
) -> tuple[list[Plug], tuple[str, ...]]:
    """Return the head that an adapter brings, in a list, and the names of its classes; none where it brings none."""
    core = family.core
    if not saved:
        if class_names:
            raise InputError("class_names", asked=some(class_names), allowed="none: the adapter brings no classes")
        return [], core.class_names
    path = class_layer(core, family.supernet.module.eval(), len(core.class_names)) if core.class_names else ""
    theirs = _their_path(family, path)
    for key in saved:
        if not path or key not in (f"{theirs}.weight", f"{theirs}.bias"):
            allowed = f"{theirs!r}, the layer that makes the classes" if path else "none: the core makes no classes"
            raise ShapeError(f"tensor {key!r} of the adapter, of a layer saved whole", asked="this", allowed=allowed)
    weight = saved.get(f"{theirs}.weight")
    if weight is None or weight.dim() != 2:
        raise ShapeError(f"tensor {f'{theirs}.weight'!r} of the adapter", asked="none", allowed="(classes, features)")
    names = class_names or (core.class_names if len(core.class_names) == len(weight) else ())
    if len(names) != len(weight) or len(set(names)) != len(names):
        do = "Give load_peft class_names=, in the order of the adapter's outputs."
        raise InputError("class_names", asked=f"{len(names)}", allowed=f"{len(weight)} different ones", do=do)
    plug = new_plug(family.supernet, HEAD, layers=[path], options={"classes": len(weight)}, exact=True)
    bias = saved.get(f"{theirs}.bias", weight.new_zeros(len(weight)))
    for key, like in (("weight", weight), ("bias", bias)):
        _check_shape(f"{theirs}.{key}", like, tuple(plug.places[path][key].tensor.shape))
    return [_filled_head(plug, path, weight, bias)], names


def _filled_head(plug: Plug, path: str, weight: Tensor, bias: Tensor) -> Plug:
    like = plug.places[path]["weight"].tensor
    return plug.with_tensors({f"{path}{BETWEEN}weight": weight.to(like), f"{path}{BETWEEN}bias": bias.to(like)})


def _own_path(family: Measurable, kind: str, path: str) -> str:
    """Return the path in the family's network of a layer of the adapter, once it is seen that the kind suits it.

    Raises:
        UnknownNameError: There is no such layer.
        InputError: It is of another kind, or stands in another form in the family.
    """
    there = {each for each, _ in family.supernet.module.named_modules()}
    own = next((each for each in (path, f"{WRAPPED}{path}") if each in there), None)
    if own is None:
        ends = sorted(_their_path(family, each) for each in there if each)
        raise UnknownNameError("layer of the adapter", asked=repr(path), do=did_you_mean(path, ends))
    _check_layer(family, kind, own)
    return own


def _check_layer(family: Measurable, kind: str, path: str) -> None:
    """Refuse layers of which PEFT's adapters compute something else, or that are not as they were loaded."""
    layer = family.supernet.module.get_submodule(path)
    where = f"layer {path!r} of the adapter"
    rewritten = next((each for each in family.core.rewritten if f"{path}.".startswith(f"{each}.")), None)
    if rewritten is not None:
        raise InputError(where, asked="one that this family has in another form", allowed="layers as loaded")
    if any(dim.axis == "output" and dim.target == path for dim in family.supernet.space.dims):
        raise InputError(where, asked="one whose outputs this family has turned", allowed="layers as loaded")
    if not KINDS.get(kind)().suits(layer):
        raise InputError(where, asked=type(layer).__name__, allowed=f"layers that {kind} suits")
    if kind == IA3 and isinstance(layer, nn.Conv1d):
        raise InputError(where, asked="Conv1d", allowed="linear layers, Conv2d and Conv3d, as in PEFT")
    if kind == LORA and isinstance(layer, _ConvNd) and not _is_simple(layer):
        allowed = "convolutions of one group, without dilation, padded with zeros"
        raise InputError(where, asked=f"{layer}", allowed=allowed)


def _is_simple(layer: _ConvNd) -> bool:
    """Return whether PEFT's small convolutions, which know no dilation and read all groups, compute as ours do."""
    return layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"


def _check_targets(adapter: Adapter, module: nn.Module, paths: Mapping[str, str]) -> None:
    """Refuse an adapter without tensors for a layer that it says it is on."""
    rule, own = KINDS.get(adapter.kind)(), set(paths.values())
    for path, layer in module.named_modules():
        plain = path.removeprefix(WRAPPED)
        named = any(plain == end or plain.endswith(f".{end}") for end in adapter.targets)
        if named and path not in own and rule.suits(layer):
            asked = "none, though target_modules names it"
            raise ShapeError(f"tensors of layer {plain!r} in the adapter", asked=asked, allowed="all that it names")


def _check_same_table(supernet: Supernet, path: str, table: Tensor) -> None:
    """Refuse an adapter that brings another embedding table than the core's."""
    own: Any = as_loaded(supernet).get_submodule(path).weight
    if own.shape != table.shape or not torch.allclose(own, table.to(own), atol=1e-6):
        do = "Save the adapter with save_embedding_layers=False, or open the family of its own core."
        raise ShapeError(f"tensor {f'{path}.base_layer.weight'!r} of the adapter", asked="another table", do=do)


def _check_shape(name: str, tensor: Tensor, wanted: Sequence[int]) -> None:
    if tuple(tensor.shape) != tuple(wanted):
        asked = f"shape {tuple(tensor.shape)}"
        raise ShapeError(f"tensor {name!r} of the adapter", asked=asked, allowed=f"shape {tuple(wanted)}")


def _scale_shape(layer: nn.Module, change: Tensor, inputs: bool) -> tuple[int, ...]:
    """Return the shape in which PEFT keeps the scales of a layer."""
    features = len(change)
    if isinstance(layer, _ConvNd):
        return (1, features, *(1,) * len(layer.kernel_size))
    return (1, features) if inputs else (features, 1)


def _thin(second: Tensor) -> Tensor:
    """Return B (out, rank), without the places of a convolution's 1x1 kernel."""
    return second.flatten(1) if set(second.shape[2:]) == {1} else second


def _as_adapter(module: nn.Module, plugs: Sequence[Plug]) -> Adapter:
    """Return plugs in the core's order as PEFT keeps them."""
    layers: dict[str, dict[str, Tensor]] = {}
    saved: dict[str, Tensor] = {}
    scales: dict[str, float] = {}
    inputs, embeddings = set(), set()
    for plug in plugs:
        for path, held in plug.places.items():
            layer = module.get_submodule(path)
            own = {name: each.tensor for name, each in held.items()}
            if plug.kind == HEAD:
                saved |= _saved_head(path, layer, own)
            elif plug.kind == LORA:
                places = (1,) * (own["A"].dim() - 2)
                layers[path] = {"A": own["A"], "B": own["B"].reshape(*own["B"].shape, *places)}
                scales[path] = plug.options["alpha"] / max(plug.options["rank"], plug.options["grow_to"])
                embeddings |= {path} if isinstance(layer, nn.Embedding) else set()
            else:
                reads = bool(plug.options["inputs"])
                shape = _scale_shape(layer, own["change"], reads)
                layers[path] = {"scale": (1 + own["change"]).reshape(shape)}
                inputs |= {path} if reads else set()
    kind = next(plug.kind for plug in plugs if plug.kind != HEAD)
    return Adapter(kind, layers, frozenset(embeddings), scales, frozenset(inputs), saved)


def _saved_head(path: str, layer: nn.Module, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a head as those of the layer in whose place it stands."""
    if getattr(layer, "bias", None) is not None:
        return {f"{path}.{name}": tensor for name, tensor in own.items()}
    if bool(own["bias"].any()):
        asked = "a head with a bias in the place of a layer without"
        raise InputError(f"layer {path!r} of a PEFT adapter", asked=asked, allowed="heads like their layer")
    return {f"{path}.weight": own["weight"]}


def _renamed(adapter: Adapter, rename: Any) -> Adapter:
    """Return an adapter with the paths of the library's network."""
    return Adapter(
        adapter.kind,
        {rename(path): parts for path, parts in adapter.layers.items()},
        frozenset(map(rename, adapter.embeddings)),
        {rename(path): scale for path, scale in adapter.scales.items()},
        frozenset(map(rename, adapter.inputs)),
        {rename(name): tensor for name, tensor in adapter.saved.items()},
    )


def _is_wrapped(family: Measurable) -> bool:
    """Return whether the family's network is a library's in a wrapper of ours."""
    return family.core.source.startswith("hf:")


def _their_path(family: Measurable, path: str) -> str:
    """Return the path of a layer in the network that PEFT sees."""
    return path.removeprefix(WRAPPED) if _is_wrapped(family) else path
