"""Between a family and its file: torch tensors to arrays and back, and the network built again from data."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from concertina.analyse.rewriting import put_rewritten
from concertina.analyse.slicing import copy_with_tensors
from concertina.errors import LoadError, UnknownNameError
from concertina.family.class_scores import from_table, to_table
from concertina.family.evidence import Evidence
from concertina.family.sound import check_sound
from concertina.load.core import own_copy, refuse_class
from concertina.load.hub import MAX_VALUES, is_library, library_of
from concertina.load.zoo import ZOO
from concertina.measure.cost import CostModel
from concertina.nest import Supernet, named_tensors
from concertina.save import Architecture, Artifact, Content, Manifest, TensorInfo, WriteReport, write_artifact
from concertina.types import Core, GrowthOrder, Point, SizeAttribute, SubnetSpec

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Torch dtype -> dtype text of the file."""
TORCH = {text: dtype for dtype, text in DTYPES.items()}


def save_family(
    path: Path, core: Core, supernet: Supernet, evidence: Evidence, modules: Mapping[str, bytes] | None = None
) -> WriteReport:
    """Write a family to one file, whole or not at all.

    Raises:
        StorageError: The disk refuses.
        FormatError: Something in the family does not fit the format.
        InputError: A tensor has lost its dtype, shape or finite values.
    """
    check_sound(core.module, supernet)
    tensors = named_tensors(supernet.module)
    manifest = Manifest(
        architecture=Architecture(
            core.source,
            dict(core.arguments),
            tuple((tuple(x.shape), DTYPES[x.dtype]) for x in core.example_inputs),
            dict(core.rewritten),
        ),
        tensors=tuple(TensorInfo(name, DTYPES[t.dtype], tuple(t.shape)) for name, t in tensors.items()),
        dims=supernet.space.dims,
        steps=supernet.order.steps,
        points=tuple(sorted(supernet.points.values(), key=lambda point: (point.position, point.name))),
        task=core.task,
        class_names=core.class_names,
        preprocess=core.preprocess,
        augment=core.augment,
        licence=core.licence,
        core_fingerprint=core.fingerprint,
        provenance=dict(evidence.provenance),
    )
    tables: dict[str, object] = {
        "records": list(evidence.records),
        "permutations": {name: order.to(torch.int32).numpy() for name, order in supernet.permutations.items()},
    }
    if evidence.core_predictions:
        largest = max(evidence.core_predictions)
        tables["core_predictions"] = np.asarray(evidence.core_predictions, dtype=_smallest(largest))
    if evidence.class_scores is not None:
        tables["class_scores"] = to_table(evidence.class_scores)
    private = {name: {key: _to_array(t) for key, t in held.items()} for name, held in supernet.private.items() if held}
    return write_artifact(path, manifest, {name: _to_array(t) for name, t in tensors.items()}, private, tables, modules)


@dataclass(eq=False)
class Opened:
    """A file that a family was read from, and can be grown from."""

    artifact: Artifact
    skeleton: nn.Module
    """The network as its architecture builds it; gives structure, not values."""
    reserve: bool
    spec: SubnetSpec = field(init=False)
    """The largest spec whose tensors have been read."""

    @cached_property
    def costs(self) -> CostModel:
        """The cost model of the whole family."""
        manifest = self.artifact.manifest
        return CostModel.of(self.skeleton, example_inputs(manifest), manifest.space)

    def unread(self, supernet: Supernet) -> tuple[Point, ...]:
        """Return the operating points of the file that have not been read yet."""
        return tuple(point for point in self.artifact.manifest.points if point.name not in supernet.points)

    @property
    def complete(self) -> bool:
        """Whether all stages have been read."""
        return self._position == len(self.artifact.manifest.steps)

    def first(self, upto: str | float | None) -> Supernet:
        """Return the family as far as `upto`; see `Artifact.read`."""
        content = self.artifact.read(upto, reserve=self.reserve)
        manifest = self.artifact.manifest
        order = GrowthOrder(manifest.space, manifest.steps)
        permutations = _permutations(self.artifact.tables()) if upto is None else {}
        supernet = Supernet(self._module(content), order, _CostsWhenAsked(self), permutations)
        self._adopt(supernet, content)
        return supernet

    def grow(self, supernet: Supernet, upto: str | float | None) -> dict[str, Any]:
        """Read on, give `supernet` what arrived, and return the tables where that was the last of it."""
        before = self._position
        content = self.artifact.grow(upto)
        if not self.reserve:
            supernet.module = self._module(content)
        self._adopt(supernet, content)
        if not self.complete or (before == self._position and supernet.permutations):
            return {}
        tables = self.artifact.tables()
        supernet.permutations = _permutations(tables)
        return tables

    def _module(self, content: Content) -> nn.Module:
        infos = {info.name: info for info in self.artifact.manifest.tensors}
        tensors = {name: _to_tensor(array, infos[name].dtype) for name, array in content.tensors.items()}
        return copy_with_tensors(self.skeleton, tensors).eval()

    def _adopt(self, supernet: Supernet, content: Content) -> None:
        parameters = {name for name, _ in self.skeleton.named_parameters()}
        for point in content.points:
            if point.name not in supernet.points:
                held = content.private.get(point.name, {})
                infos = {info.name: info.dtype for info in self.artifact.manifest.private.get(point.name, ())}
                tensors = {name: _to_tensor(array, infos[name]) for name, array in held.items()}
                supernet.add(point, {n: nn.Parameter(t) if n in parameters else t for n, t in tensors.items()})
        self._position = content.position
        self.spec = content.spec


def with_tables(evidence: Evidence, tables: Mapping[str, Any], core: Core, supernet: Supernet) -> Evidence:
    """Return evidence with what the tables of a file hold: Records, the core's predictions, scores of classes."""
    scores = from_table(tables["class_scores"], core, supernet) if "class_scores" in tables else evidence.class_scores
    predictions = tuple(int(i) for i in tables.get("core_predictions", ()))
    made = replace(evidence, records=(), core_predictions=predictions, class_scores=scores)
    return made.with_records((*tables.get("records", ()), *evidence.records))


def _permutations(tables: Mapping[str, Any]) -> dict[str, Tensor]:
    stored = tables.get("permutations", {})
    return {name: torch.from_numpy(np.array(order)).long() for name, order in stored.items()}


class _CostsWhenAsked:
    """Costs that build their model at the first question, so that opening a file does not run the network."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def macs(self, spec: SubnetSpec) -> int:
        """Return the multiply-accumulates for one input of `spec`."""
        return self._opened.costs.macs(spec)

    def params(self, spec: SubnetSpec) -> int:
        """Return the number of parameters of `spec`."""
        return self._opened.costs.params(spec)

    def size_bytes(self, spec: SubnetSpec) -> int:
        """Return the bytes of all tensors of `spec`."""
        return self._opened.costs.size_bytes(spec)

    def __reduce__(self) -> tuple[object, ...]:
        """Sent to another process, the model itself goes: an open file cannot."""
        return copy.copy, (self._opened.costs,)


def rebuild(manifest: Manifest, module: nn.Module | None) -> nn.Module:
    """Return the architecture that a manifest names, with values that do not matter.

    Args:
        manifest: The header of a file.
        module: The user's own network, for a family that was made from one.

    Raises:
        LoadError: The source is unknown, a module is needed, or the network is another one.
        ExtraError: The library that the network is of is not installed.
    """
    source = manifest.architecture.source
    refuse_class(module, "module=")
    if module is not None and not isinstance(module, nn.Module):
        raise LoadError("module=", asked=type(module).__name__, allowed="your network, a torch module")
    if module is not None:
        skeleton = own_copy(module)
    elif source.startswith("zoo:"):
        try:
            skeleton = ZOO.get(source.removeprefix("zoo:")).build(**manifest.architecture.arguments)
        except (UnknownNameError, TypeError) as error:
            raise LoadError(f"architecture {source!r} of the file", asked=str(error)) from error
    elif is_library(source):
        stored = sum(math.prod(info.shape) for info in manifest.tensors)
        skeleton = library_of(source).build(manifest.architecture.arguments, most=min(2 * stored + 2**20, MAX_VALUES))
    else:
        raise LoadError(
            f"the family was made from {source!r}, which no registry knows",
            do="Open it with module=YourNetwork() of the same shapes.",
        )
    put_rewritten(skeleton, manifest.architecture.rewritten)
    _check_same_tensors(manifest, skeleton)
    _check_same_modules(manifest, skeleton)
    return skeleton


def example_inputs(manifest: Manifest) -> tuple[Tensor, ...]:
    """Return inputs of the shapes and dtypes that the network was made with, zeros for integers."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for shape, text in manifest.architecture.inputs:
        dtype = TORCH[text]
        made = torch.randn(shape, generator=generator) if dtype.is_floating_point else torch.zeros(shape)
        found.append(made.to(dtype))
    return tuple(found)


def _check_same_tensors(manifest: Manifest, skeleton: nn.Module) -> None:
    """Refuse a network whose tensors are not those of the file."""
    wanted = {info.name: (info.dtype, info.shape) for info in manifest.tensors}
    given = {name: (DTYPES.get(t.dtype, str(t.dtype)), tuple(t.shape)) for name, t in named_tensors(skeleton).items()}
    for name in [*wanted, *given]:
        if wanted.get(name) != given.get(name):
            raise LoadError(
                f"tensor {name!r} of the network is not that of the file",
                asked=_described(given.get(name)),
                allowed=_described(wanted.get(name)),
                do="Build the network with the arguments it had when the family was made.",
            )


def _check_same_modules(manifest: Manifest, skeleton: nn.Module) -> None:
    """Refuse dims that would touch anything but declared sizes and blocks that the network has."""
    modules, names = dict(skeleton.named_modules()), named_tensors(skeleton)
    owed: Counter[SizeAttribute] = Counter()
    shared: set[SizeAttribute] = set()
    for dim in manifest.dims:
        inside = {name for name in names if name.startswith(f"{dim.target}.")}
        if dim.is_gate and (dim.target not in modules or inside != {member.tensor for member in dim.members}):
            allowed = "a module of the network with the dim's own tensors"
            raise LoadError(f"block of dim {dim.name!r}", asked=repr(dim.target), allowed=allowed)
        places = [replace(size, positions=1) for size in dim.attributes]
        owed.update({place: dim.original * size.positions for place, size in zip(places, dim.attributes, strict=True)})
        shared.update(places if any(member.of for member in dim.members) else ())
    for place, value in owed.items():
        held = _declared(modules, place)
        if type(held) is not int or held < value or (held > value and place not in shared):
            raise LoadError(
                f"declared size {place.attribute!r} of module {place.module!r}",
                asked=repr(held),
                allowed=f"{value}, as the dims of the file say",
            )


def _declared(modules: Mapping[str, nn.Module], place: SizeAttribute) -> object:
    """Return what a module declares in a place; None where it has no such place."""
    held = vars(modules[place.module]).get(place.attribute) if place.module in modules else None
    if place.index < 0:
        return held
    return held[place.index] if isinstance(held, tuple) and place.index < len(held) else None


def _described(found: tuple[str, tuple[int, ...]] | None) -> str:
    return f"{found[0]} of shape {found[1]}" if found else "no such tensor"


def _to_array(tensor: Tensor) -> Any:
    held = tensor.detach().cpu().contiguous()
    if held.dtype == torch.bfloat16:
        return held.view(torch.int16).numpy().view(np.uint16)
    return held.numpy()


def _to_tensor(array: Any, text: str) -> Tensor:
    """Return a tensor over the array's own memory."""
    if text == "BF16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _smallest(largest: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32
