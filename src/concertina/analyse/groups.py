"""From proposals to candidate groups: unions over whatever shares a tensor side, with positions per unit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from math import gcd

from concertina.analyse.attention import Heads
from concertina.analyse.layers import Key, Side, Wiring
from concertina.analyse.trace import Coupling, Touch
from concertina.types import Group, Member, Range, SizeAttribute

MAKING = ("out", "depthwise", "tied")
"""Roles that can make units rather than only read or rescale them."""


Run = tuple[str, int, int, int]
"""A run of positions on a tensor side: (name of the tensor, dim, first position, how many)."""


@dataclass
class _Draft:
    """Tensor sides on their way to becoming one group."""

    units: int
    keys: set[Key] = field(default_factory=set)
    sides: set[Side] = field(default_factory=set)
    runs: set[Run] = field(default_factory=set)
    """What it owns of sides that are not its own from end to end."""
    shared: set[Side] = field(default_factory=set)
    """The layers' sides of which it owns runs."""
    unruled: set[str] = field(default_factory=set)
    """Layers that take part and for which there is no rule."""

    def join(self, other: _Draft) -> None:
        """Take in all that another draft holds."""
        self.units = gcd(self.units, other.units)
        self.keys |= other.keys
        self.sides |= other.sides
        self.runs |= other.runs
        self.shared |= other.shared
        self.unruled |= other.unruled


class Owned:
    """Which positions of tensor sides some groups own."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._ranges: defaultdict[Key, list[Range]] = defaultdict(list)
        for group in groups:
            for member in group.members:
                stop = member.start + group.units * member.positions
                self._ranges[member.tensor, member.dim].append((member.start, stop))

    def any_of(self, key: Key, start: int, stop: int) -> bool:
        """Return whether they own some of the positions from `start` up to `stop` of a side."""
        return any(a < stop and start < b for a, b in self._ranges.get(key, ()))

    def meets(self, group: Group) -> bool:
        """Return whether they own something that a group owns too."""
        ends = ((m, m.start + group.units * m.positions) for m in group.members)
        return any(self.any_of((member.tensor, member.dim), member.start, stop) for member, stop in ends)

    def holds(self, group: Group) -> bool:
        """Return whether they own all that a group owns."""
        return all(
            self._covers((member.tensor, member.dim), member.start, member.start + group.units * member.positions)
            for member in group.members
        )

    def _covers(self, key: Key, start: int, stop: int) -> bool:
        for a, b in sorted(self._ranges.get(key, ())):
            start = max(start, b) if a <= start else start
        return start >= stop


def coupled_groups(wiring: Wiring, couplings: Sequence[Coupling], taken: Iterable[Group] = ()) -> list[Group]:
    """Return candidate groups, each tensor side in one of them at most, in the network's order.

    Args:
        wiring: What is known of the layers.
        couplings: What the proposer takes for coupled.
        taken: Groups that are verified already; what they own is left out.
    """
    owned = Owned(taken)
    drafts = [_draft(wiring, coupling.units, whole) for coupling in couplings if (whole := _ordered(coupling))]
    drafts = _united(drafts)
    seen = {key for draft in drafts for key in (*draft.keys, *(run[:2] for run in draft.runs))}
    drafts += _united([d for c in couplings for d in _leftovers(wiring, c, seen) if not d.keys & seen])
    for draft in drafts:
        draft.keys = {key for key in draft.keys if not owned.any_of(key, 0, wiring.size(key))}
        draft.sides = {side for side in draft.sides if draft.keys >= set(side.keys) or side.runs > 1}
        draft.runs = {run for run in draft.runs if not owned.any_of(run[:2], run[2], run[2] + run[3])}
        draft.shared = {side for side in draft.shared if any(run[:2] in side.keys for run in draft.runs)}
    return in_order(wiring, [_group(wiring, draft) for draft in drafts if _makes_units(wiring, draft)])


def head_group(
    wiring: Wiring, together: Sequence[Heads], units: int, tables: Iterable[Key] = (), runs: int = 1
) -> Group | None:
    """Return attention heads as a candidate group of `units` heads; None where the layers' rules do not hold.

    Args:
        wiring: What is known of the layers.
        together: Attention modules whose heads go together, at least one.
        units: Number of heads.
        tables: Tensor sides with an entry for each head, such as biases by relative position.
        runs: How many times over a projection makes all heads, one time after the other: 3 where it makes the queries
            of all heads, then their keys, then their values.
    """
    ends = [(path, "out") for heads in together for path in heads.makers]
    readers = [(heads.reader, "in") for heads in together]
    if any(end not in wiring.sides for end in (*ends, *readers)):
        return None
    made = {wiring.sides[end] for end in ends}
    draft = _Draft(units, set(tables), {wiring.sides[end] for end in readers} | (made if runs == 1 else set()))
    if runs > 1:
        draft.shared = made
        draft.runs = {run for side in made for key in side.keys for run in _split(wiring, key, runs)}
    draft.sides |= {side for key in draft.keys for side in wiring.holders.get(key, ())}
    _close(wiring, draft)
    if draft.units != units:
        return None
    found = _group(wiring, draft)
    return Group(together[0].path or together[0].makers[0], found.units, found.members, found.attributes)


def uncoupled_groups(wiring: Wiring, listed: Iterable[Key], unreached: Iterable[str], reason: str) -> list[Group]:
    """Return a rigid group for every layer whose outputs no group lists, modules never reached left out."""
    seen, missing = set(listed), []
    for (path, end), side in wiring.sides.items():
        if end == "out" and side.role in MAKING and side.keys and not seen & set(side.keys) and path not in unreached:
            whole = group(wiring, wiring.size(side.keys[0]), set(side.keys), {side})
            missing.append(Group(path, whole.units, whole.members, whole.attributes, reason))
            seen |= set(side.keys)
    return missing


def group(wiring: Wiring, units: int, keys: Iterable[Key], sides: Iterable[Side], unruled: Iterable[str] = ()) -> Group:
    """Return a group of `units` units over tensor sides, members and declared sizes in the network's order.

    Args:
        wiring: What is known of the layers.
        units: Number of units; divides the length of every side.
        keys: The tensor sides.
        sides: The layers' sides, for their declared sizes.
        unruled: Layers that take part without a rule; the group is rigid because of them.
    """
    return _group(wiring, _Draft(units, set(keys), set(sides), unruled=set(unruled)))


def _group(wiring: Wiring, draft: _Draft) -> Group:
    units = draft.units
    members = [Member(*key, wiring.role(key), wiring.size(key) // units) for key in draft.keys]
    for name, dim, start, length in draft.runs:
        key = name, dim
        members.append(Member(name, dim, wiring.role(key), length // units, start, wiring.size(key)))
    members.sort(key=lambda member: (wiring.index[member.tensor], member.dim, member.start))
    attributes = {
        SizeAttribute(side.path, name, value // units, index)
        for side in draft.sides
        for name, index, value in side.sizes
    }
    for side in draft.shared:
        owned = sum(length for name, dim, _, length in draft.runs if (name, dim) == side.keys[0])
        attributes |= {SizeAttribute(side.path, name, owned // units, index) for name, index, _ in side.sizes}
    declared = tuple(sorted(attributes, key=lambda a: (a.module, a.attribute, a.index)))
    stuck = sorted(draft.unruled)
    reason = f"propose: there is no rule for what '{stuck[0]}' does with its units" if stuck else ""
    return Group(
        _name(wiring, [(member.tensor, member.dim) for member in members]), units, tuple(members), declared, reason
    )


def in_order(wiring: Wiring, groups: Iterable[Group]) -> list[Group]:
    """Return groups sorted by the place of their first member in the network."""
    return sorted(groups, key=lambda g: min((wiring.index[m.tensor], m.dim) for m in g.members))


def keys_of(groups: Iterable[Group]) -> Iterator[Key]:
    """Yield every tensor side of some groups."""
    return ((member.tensor, member.dim) for group in groups for member in group.members)


def _name(wiring: Wiring, ordered: Sequence[Key]) -> str:
    """Return the path of the first layer that makes the units, or else the name of the first tensor."""
    for key in ordered:
        for side in wiring.holders.get(key, ()):
            if side.role in MAKING:
                return side.path
    return ordered[0][0]


def _makes_units(wiring: Wiring, draft: _Draft) -> bool:
    return any(wiring.role(key) in MAKING for key in (*draft.keys, *(run[:2] for run in draft.runs)))


def _ordered(coupling: Coupling) -> list[Touch]:
    """Return the touches whose units lie in order, on all of a side or in runs."""
    return [touch for touch in coupling.touches if touch.starts]


def _draft(wiring: Wiring, units: int, touches: Iterable[Touch]) -> _Draft:
    draft = _Draft(units)
    for touch in touches:
        side = wiring.sides.get((touch.path, touch.end))
        if touch.end != "raw" and side is None:
            draft.unruled.add(touch.path)
        elif touch.whole and side:
            draft.sides.add(side)
        elif touch.whole:
            draft.keys.add((touch.path, touch.dim))
        elif side and not side.divides and all(wiring.size(key) == touch.size for key in side.keys):
            draft.shared.add(side)
            draft.runs |= {(*key, start, touch.length) for key in side.keys for start in touch.starts}
        elif side is None:
            draft.runs |= {(touch.path, touch.dim, start, touch.length) for start in touch.starts}
        else:
            draft.unruled.add(touch.path)
    _close(wiring, draft)
    return draft


def _split(wiring: Wiring, key: Key, runs: int) -> list[Run]:
    """Return a tensor side as so many runs of equal length."""
    length = wiring.size(key) // runs
    return [(*key, start * length, length) for start in range(runs)]


def _close(wiring: Wiring, draft: _Draft) -> None:
    """Add everything that cannot but go along: other tensors of the same sides, other holders of tied tensors."""
    waiting = list(draft.sides) + [side for key in draft.keys for side in wiring.holders.get(key, ())]
    while waiting:
        side = waiting.pop()
        draft.sides.add(side)
        if side.runs > 1:
            draft.runs.update(run for key in side.keys for run in _split(wiring, key, side.runs))
        fresh = [key for key in side.keys if key not in draft.keys and side.runs == 1]
        draft.keys.update(fresh)
        along = [wiring.sides[side.path, end] for end in side.along]
        waiting += [other for key in fresh for other in wiring.holders[key] if other not in draft.sides]
        waiting += [other for other in along if other not in draft.sides]
    divisors = [side.divides for side in draft.sides if side.divides]
    lengths = [*map(wiring.size, draft.keys), *(length for *_, length in draft.runs)]
    draft.units = reduce(gcd, [*divisors, *lengths], draft.units)


def _united(drafts: Iterable[_Draft]) -> list[_Draft]:
    """Return drafts joined wherever they share a tensor side or a layer side."""
    united: list[_Draft] = []
    for draft in drafts:
        apart = []
        for other in united:
            if other.keys & draft.keys or other.sides & draft.sides or other.runs & draft.runs:
                draft.join(other)
            else:
                apart.append(other)
        united = [*apart, draft]
    return united


def _leftovers(wiring: Wiring, coupling: Coupling, seen: set[Key]) -> Iterator[_Draft]:
    """Yield drafts for sides that a coupling does not cover in order, one for each length.

    Where they are shorter than others of the coupling, as before padding, they are taken for runs of those.
    """
    lengths: defaultdict[int, list[Touch]] = defaultdict(list)
    for touch in coupling.touches:
        side = wiring.sides.get((touch.path, touch.end))
        if not touch.starts and side is not None and side.keys and not seen & set(side.keys):
            lengths[max(wiring.size(key) for key in side.keys)].append(touch)
    larger = [touch for touch in coupling.touches if touch.whole]
    for length, touches in lengths.items():
        whole = [replace(touch, starts=(0,), length=length, size=length) for touch in touches]
        padded = [replace(touch, length=length) for touch in larger if touch.size > length]
        yield _draft(wiring, length, [*whole, *padded])
