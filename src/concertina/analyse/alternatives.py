"""Other readings of a proposal that cannot be reordered as it stands: repeats, coarser units, tensors by themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import islice, product

from concertina.analyse.attention import HEAD_COUNTS, number
from concertina.analyse.groups import group as make_group
from concertina.analyse.layers import Key, Wiring
from concertina.analyse.probe import Probe
from concertina.types import Group, SizeAttribute

MOST = 64
"""Most readings that are tried for one group."""


def alternatives(probe: Probe, group: Group, taken: set[Key]) -> Iterator[Group]:
    """Yield the group as proposed, then shifted, repeated, with other raw tensors, with coarser units as modules have.

    Args:
        probe: The randomised network.
        group: A proposal.
        taken: Tensor sides that belong to other groups.
    """
    yield group
    if not group.rigid:
        yield from _centred(group)
        yield from _repeated(group)
        yield from islice(_with_raw_tensors(probe.wiring, group, taken), MOST)
        for units in _spoken_counts(probe, group):
            yield _coarser(group, units)


def _centred(group: Group) -> Iterator[Group]:
    """Yield the group with its runs in the middle of their sides, as after padding with as much on either end."""
    members = [
        replace(member, start=(member.of - group.units * member.positions) // 2) if member.of else member
        for member in group.members
    ]
    if members != list(group.members) and len({(m.tensor, m.dim, m.start) for m in members}) == len(members):
        yield replace(group, members=tuple(members))


def _repeated(group: Group) -> Iterator[Group]:
    """Yield the group with all of the sides of which it has the first run: a gate, say, and what it gates.

    Units own a place in every run, or places that lie together.
    """
    times = {m.tensor.rpartition(".")[0]: m.of // (group.units * m.positions) for m in group.members if m.of}
    if not times or any(m.of and (m.start or m.of % (group.units * m.positions)) for m in group.members):
        return
    in_runs = [
        replace(member, start=start)
        for member in group.members
        for start in range(0, member.of or 1, group.units * member.positions)
    ]
    together = [replace(m, of=0, positions=m.of // group.units) if m.of else m for m in group.members]
    attributes = tuple(
        replace(size, positions=size.positions * times[size.module]) if _is_made_by(size, times) else size
        for size in group.attributes
    )
    for members in (in_runs, together):
        yield replace(group, members=tuple(members), attributes=attributes)


def _is_made_by(size: SizeAttribute, layers: Collection[str]) -> bool:
    """Return whether a declared size is that of the outputs of one of some layers."""
    return size.module in layers and size.attribute in ("out_features", "out_channels")


def _with_raw_tensors(wiring: Wiring, group: Group, taken: set[Key]) -> Iterator[Group]:
    """Yield the group with every other choice of parameters and buffers that a forward uses by themselves."""
    if any(member.of for member in group.members):
        return
    keys = {(member.tensor, member.dim) for member in group.members}
    lengths = {wiring.size(key) for key in keys if key in wiring.holders}
    choices: dict[str, list[Key | None]] = {}
    for name in wiring.raw():
        fitting = [(name, dim) for dim, size in enumerate(wiring.tensors[name].shape) if size in lengths]
        free: list[Key | None] = [key for key in fitting if key not in taken]
        if free:
            choices[name] = sorted([*free, None], key=lambda key: key not in keys)
    held = keys - {key for options in choices.values() for key in options if key}
    for chosen in product(*choices.values()) if choices else ():
        wanted = held | {key for key in chosen if key}
        if wanted != keys:
            sides = {side for key in wanted for side in wiring.holders.get(key, ())}
            made = make_group(wiring, group.units, wanted, sides)
            yield replace(made, name=group.name, attributes=group.attributes)


def _spoken_counts(probe: Probe, group: Group) -> list[int]:
    """Return the numbers of heads or groups that modules around the members declare and that divide the units."""
    names = (*HEAD_COUNTS, "groups", "num_groups")
    counts = {number(layer, name) for layer in probe.module.modules() for name in names}
    return sorted((c for c in counts if 1 < c < group.units and group.units % c == 0), reverse=True)


def _coarser(group: Group, units: int) -> Group:
    times = group.units // units
    return replace(
        group,
        units=units,
        members=tuple(replace(member, positions=member.positions * times) for member in group.members),
        attributes=tuple(replace(declared, positions=declared.positions * times) for declared in group.attributes),
    )
