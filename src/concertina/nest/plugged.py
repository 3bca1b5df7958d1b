"""Subnets with plugs: a plug is cut as the core is, and then attached, or merged into copies of what it touches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import InputError, some
from concertina.modules import KINDS, Follows, Kind, Owned, Places, checked_options, layers_for
from concertina.nest.builder import build, subnet_tensors
from concertina.nest.order import named_tensors
from concertina.nest.supernet import Supernet
from concertina.types import Dim, Space, SubnetSpec

BETWEEN = ":"
"""Between the path of a layer and the name of an own tensor."""


@dataclass(frozen=True, eq=False)
class Plug:
    """One kind of module on some layers, in the order of the family's channels: every size has its part of it."""

    kind: str
    """Name in `KINDS`."""
    options: Mapping[str, Any]
    places: Places

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
        return f"Plug({self.kind}, {len(self.places)} layers, {self.num_parameters:,} parameters)"

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Plug:
        """Return the plug with other values in its tensors."""
        places = {
            path: {name: replace(own, tensor=tensors[f"{path}{BETWEEN}{name}"]) for name, own in held.items()}
            for path, held in self.places.items()
        }
        return replace(self, places=places)


def new_plug(
    supernet: Supernet,
    kind: str,
    *,
    layers: Sequence[str] = (),
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    exact: bool = False,
) -> Plug:
    """Return a plug that changes nothing yet; layers that share tensors with others are left out.

    Args:
        supernet: The family.
        kind: Name in `KINDS`.
        layers: Parts of paths of the layers it is put on; all that suit unless said.
        seed: Of its random values.
        options: Of the kind, in place of the defaults.
        exact: Whether `layers` are whole paths of layers that are known to suit.

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
    for path in layers if exact else layers_for(rule, supernet.module, layers):
        layer = supernet.module.get_submodule(path)
        held = dict(layer.named_parameters(recurse=False))
        tied = [] if rule.around else [name for name, parameter in held.items() if users[id(parameter)] > 1]
        if tied and layers:
            asked = f"{path!r}, whose {tied[0]} other layers have too"
            raise InputError("layers of a module", asked=asked, allowed="layers with tensors of their own")
        if not tied:
            places[path] = rule.own(layer, {name: names[id(p)] for name, p in held.items()}, chosen, generator)
    if rule.around and len(places) != 1:
        do = "Name the one that reads the network's tokens."
        raise InputError(f"layers of a module of kind {kind!r}", asked=some(places), allowed="one", do=do)
    return Plug(kind, chosen, places)


def cut_plug(space: Space, spec: SubnetSpec, plug: Plug) -> dict[str, dict[str, Tensor]]:
    """Return path of a layer -> own tensors of a subnet, views with gradient flow; layers it lacks are left out.

    Args:
        space: The dims of the core.
        spec: A canonical spec.
        plug: The change.
    """
    views = subnet_tensors(followed(space, plug), spec, plug.tensors)
    found: dict[str, dict[str, Tensor]] = {}
    for key, view in views.items():
        path, _, name = key.rpartition(BETWEEN)
        found.setdefault(path, {})[name] = view
    return found


def with_plugs(
    supernet: Supernet,
    spec: SubnetSpec,
    plugs: Sequence[Plug],
    private: Mapping[str, Tensor] | None = None,
    *,
    merged: bool = False,
    gradient: bool = False,
) -> nn.Module:
    """Return a subnet with changes plugged in, one after the other.

    Attached, its weights are views of the family's storage and the plugs compute beside them. Merged, it computes what
    the plain subnet does, with copies of the tensors that plugs touch: the core's plus all changes; plugs that are no
    changes of weights stay attached. Those that add to weights come first, then those that scale, then those that add
    computation, and last what is around all, so that merging changes no answer.

    Args:
        supernet: The family.
        spec: The subnet.
        plugs: The changes.
        private: The subnet's private tensors.
        merged: Whether to merge those that can be.
        gradient: Whether gradients flow to plugs and private tensors; never to the core. Not with `merged`.

    Raises:
        InputError: Two of the plugs cannot be on one layer.
    """
    spec, space = supernet.space.check(spec), supernet.space
    cuts = [(plug, cut_plug(space, spec, plug)) for plug in _in_order(plugs)]
    if not gradient:
        cuts = [(plug, _detached(own)) for plug, own in cuts]
    held = dict(private or {})
    if merged:
        held = _merged(supernet, spec, [cut for cut in cuts if cut[0].rule.mergeable], held)
        cuts = [cut for cut in cuts if not cut[0].rule.mergeable]
    shared = {name: t.detach() for name, t in named_tensors(supernet.module).items() if name not in held}
    subnet = build(supernet.module, space, spec, shared | held, gradient=gradient)
    for plug, own in cuts:
        for path, tensors in own.items():
            plug.rule.attach(subnet.get_submodule(path), tensors, plug.options)
            plug.rule.attach_around(subnet, subnet.get_submodule(path), plug.options)
    return subnet


def _in_order(plugs: Sequence[Plug]) -> list[Plug]:
    """Return plugs in the order in which they act.

    Raises:
        InputError: The inputs of a layer are scaled that another plug, which cannot be merged, reads; or two plugs are
            around the whole network.
    """
    reading = {path: plug.kind for plug in plugs if plug.rule.reads_inputs for path in plug.places}
    for plug in plugs:
        both = [path for path in plug.places if path in reading] if plug.options.get("inputs") else []
        if both:
            asked = f"{plug.kind!r} on its inputs and {reading[both[0]]!r}"
            raise InputError(f"modules on layer {both[0]!r}", asked=asked, allowed="one of both")
    around = [plug.kind for plug in plugs if plug.rule.around]
    if len(around) > 1:
        raise InputError("modules around a whole network", asked=" and ".join(map(repr, around)), allowed="one")
    return sorted(plugs, key=lambda plug: (not plug.rule.mergeable, plug.rule.scales, plug.rule.around))


def _detached(own: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    return {path: {name: tensor.detach() for name, tensor in held.items()} for path, held in own.items()}


def _merged(
    supernet: Supernet,
    spec: SubnetSpec,
    cuts: Sequence[tuple[Plug, Mapping[str, Mapping[str, Tensor]]]],
    private: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return the private tensors of a merged subnet: the tensors touched, changed, and those it had."""
    plain = build(supernet.module, supernet.space, spec, private)
    names = {id(tensor): name for name, tensor in named_tensors(supernet.module).items()}
    called = {path: id(p) for path, p in supernet.module.named_parameters(remove_duplicate=False)}
    changed = dict(private)
    with torch.no_grad():
        for plug, own in cuts:
            for path, held in own.items():
                layer = plain.get_submodule(path)
                for attribute, delta in plug.rule.delta(layer, held, plug.options).items():
                    value = nn.Parameter(getattr(layer, attribute) + delta)
                    changed[names[called[f"{path}.{attribute}"]]] = value
                    setattr(layer, attribute, value)
    return changed


def followed(space: Space, plug: Plug) -> Space:
    """Return the dims with a plug's own tensors as members, each side like the core's side it goes along with."""
    sides: dict[tuple[str, int], list[tuple[str, Follows]]] = {}
    for path, held in plug.places.items():
        for name, own in held.items():
            for follows in own.follows:
                sides.setdefault((follows.tensor, follows.of), []).append((f"{path}{BETWEEN}{name}", follows))
    return Space(tuple(_along(dim, sides, plug) for dim in space.dims))


def _along(dim: Dim, sides: Mapping[tuple[str, int], Sequence[tuple[str, Follows]]], plug: Plug) -> Dim:
    """Return a dim whose members are own tensors of a plug; a block's gate takes all inside the block."""
    if dim.is_gate:
        inside = [key for key in plug.tensors if key.startswith(f"{dim.target}.")]
        return replace(dim, members=tuple(replace(dim.members[0], tensor=key) for key in inside))
    members = [
        replace(member, tensor=key, dim=follows.dim)
        for member in dim.members
        for key, follows in sides.get((member.tensor, member.dim), ())
    ]
    return replace(dim, members=tuple(members), attributes=())
