"""Subnets with modules: a module is cut as the core is, and then attached, or merged into copies of what it touches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import InputError
from concertina.modules import KINDS, Kind, Places, attach, deltas, layers_for
from concertina.modules.base import Follows, Owned, checked_options
from concertina.nest.builder import build, subnet_tensors
from concertina.nest.order import named_tensors
from concertina.nest.supernet import Supernet
from concertina.types import Dim, Space, SubnetSpec

BETWEEN = ":"
"""Between the path of a layer and the name of an own tensor."""


@dataclass(frozen=True, eq=False)
class Module:
    """A module: tensors in the order of the family's sorted channels, so that every size of the core has its own."""

    kind: str
    """Name in `KINDS`."""
    options: Mapping[str, Any]
    places: Places
    private: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    """Point name -> normalisation statistics that the core with the module has there."""

    @property
    def rule(self) -> Kind:
        """The kind itself."""
        return KINDS.get(self.kind)()

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every own tensor, by path of its layer and its name there."""
        places = self.places.items()
        return {f"{path}{BETWEEN}{name}": own.tensor for path, held in places for name, own in held.items()}

    @property
    def num_parameters(self) -> int:
        """Values of all own tensors, statistics left out."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def __repr__(self) -> str:
        return f"Module({self.kind}, {len(self.places)} layers, {self.num_parameters:,} parameters)"

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Module:
        """Return the module with other values in its tensors."""
        places = {
            path: {name: replace(own, tensor=tensors[f"{path}{BETWEEN}{name}"]) for name, own in held.items()}
            for path, held in self.places.items()
        }
        return replace(self, places=places)


def new_module(
    supernet: Supernet,
    kind: str,
    *,
    layers: Sequence[str] = (),
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Module:
    """Return a module that changes nothing yet; layers that share tensors with others are left out.

    Args:
        supernet: The family.
        kind: Name in `KINDS`.
        layers: Parts of paths of the layers it is put on; all that suit unless said.
        seed: Of its random values.
        options: Of the kind, in place of the defaults.

    Raises:
        UnknownNameError: No such kind.
        InputError: An option is wrong, or a name fits no layer, or one that shares its tensors.
    """
    rule = KINDS.get(kind)()
    chosen = checked_options(rule, options or {})
    names = {id(tensor): name for name, tensor in named_tensors(supernet.module).items()}
    users = Counter(id(p) for _, p in supernet.module.named_parameters(remove_duplicate=False))
    generator = torch.Generator().manual_seed(seed)
    places: dict[str, dict[str, Owned]] = {}
    for path in layers_for(rule, supernet.module, layers):
        layer = supernet.module.get_submodule(path)
        held = dict(layer.named_parameters(recurse=False))
        tied = [name for name, parameter in held.items() if users[id(parameter)] > 1]
        if tied and layers:
            asked = f"{path!r}, whose {tied[0]} other layers have too"
            raise InputError("layers of a module", asked=asked, allowed="layers with tensors of their own")
        if not tied:
            places[path] = rule.own(layer, {name: names[id(p)] for name, p in held.items()}, chosen, generator)
    return Module(kind, chosen, places)


def cut_module(space: Space, spec: SubnetSpec, module: Module) -> dict[str, dict[str, Tensor]]:
    """Return path of a layer -> own tensors of a subnet, views with gradient flow; layers it lacks are left out.

    Args:
        space: The dims of the core.
        spec: A canonical spec.
        module: The module.
    """
    views = subnet_tensors(_followed(space, module), spec, module.tensors)
    found: dict[str, dict[str, Tensor]] = {}
    for key, view in views.items():
        path, _, name = key.rpartition(BETWEEN)
        found.setdefault(path, {})[name] = view
    return found


def with_module(
    supernet: Supernet,
    spec: SubnetSpec,
    module: Module,
    private: Mapping[str, Tensor] | None = None,
    *,
    merged: bool = False,
    gradient: bool = False,
) -> nn.Module:
    """Return a subnet with a module on it.

    Attached, its weights are views of the family's storage and the module computes beside them. Merged, it computes
    what the plain subnet does, with copies of the tensors that the module touches: the core's plus its changes.

    Args:
        supernet: The family.
        spec: The subnet.
        module: The module.
        private: The subnet's private tensors.
        merged: Whether to merge.
        gradient: Whether gradients flow to the module (attached) and to private tensors; never to the core.

    Raises:
        InputError: The module is of a kind that cannot be merged.
    """
    spec, space = supernet.space.check(spec), supernet.space
    own = cut_module(space, spec, module)
    if not gradient:
        own = {path: {name: tensor.detach() for name, tensor in held.items()} for path, held in own.items()}
    if merged:
        if not module.rule.mergeable:
            mergeable = ", ".join(entry.name for entry in KINDS if entry.part.mergeable)
            raise InputError("a module to merge", asked=f"one of kind {module.kind!r}", allowed=mergeable)
        return build(supernet.module, space, spec, _merged(supernet, spec, module, private, own))
    tensors = {name: tensor.detach() for name, tensor in named_tensors(supernet.module).items()}
    held = {name: tensor for name, tensor in tensors.items() if name not in (private or {})} | dict(private or {})
    subnet = build(supernet.module, space, spec, held, gradient=gradient)
    attach(subnet, module.rule, own, module.options)
    return subnet


def _merged(
    supernet: Supernet,
    spec: SubnetSpec,
    module: Module,
    private: Mapping[str, Tensor] | None,
    own: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Return the private tensors of a merged subnet: the tensors touched, changed, and those it had."""
    plain = build(supernet.module, supernet.space, spec, private)
    names = {id(tensor): name for name, tensor in named_tensors(supernet.module).items()}
    held = {f"{path}.{n}": names[id(p)] for path in own for n, p in _named(supernet.module, path)}
    tensors = named_tensors(plain)
    changed = dict(private or {})
    with torch.no_grad():
        for name, delta in deltas(plain, module.rule, own, module.options).items():
            shared = held[name]
            value = tensors[shared] + delta
            changed[shared] = nn.Parameter(value) if isinstance(tensors[shared], nn.Parameter) else value
    return changed


def _named(module: nn.Module, path: str) -> list[tuple[str, Tensor]]:
    return list(module.get_submodule(path).named_parameters(recurse=False))


def _followed(space: Space, module: Module) -> Space:
    """Return the dims with the module's own tensors as members, each side like the core's side it goes along with."""
    sides: dict[tuple[str, int], list[tuple[str, Follows]]] = {}
    layers: dict[str, list[str]] = {}
    for path, held in module.places.items():
        for name, own in held.items():
            key = f"{path}{BETWEEN}{name}"
            for follows in own.follows:
                sides.setdefault((follows.tensor, follows.of), []).append((key, follows))
                layers.setdefault(follows.tensor, []).append(key)
    return Space(tuple(_along(dim, sides, layers, module) for dim in space.dims))


def _along(
    dim: Dim,
    sides: Mapping[tuple[str, int], Sequence[tuple[str, Follows]]],
    layers: Mapping[str, Sequence[str]],
    module: Module,
) -> Dim:
    members = []
    for member in dim.members:
        if member.dim == -1:
            members += [replace(member, tensor=key) for key in dict.fromkeys(layers.get(member.tensor, ()))]
        for key, follows in sides.get((member.tensor, member.dim), ()):
            members.append(replace(member, tensor=key, dim=follows.dim))
    if dim.is_gate:
        there = {member.tensor for member in members}
        inside = (key for key in module.tensors if key.startswith(f"{dim.target}."))
        members += [replace(dim.members[0], tensor=key) for key in inside if key not in there]
    return replace(dim, members=tuple(members), attributes=())
