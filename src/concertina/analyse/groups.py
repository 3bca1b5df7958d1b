"""From proposals to candidate groups: unions over whatever shares a tensor side, with positions per unit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import gcd

from concertina.analyse.attention import Heads
from concertina.analyse.layers import Key, Side, Wiring
from concertina.analyse.trace import Coupling, Touch
from concertina.types import Group, Member, SizeAttribute

MAKING = ("out", "depthwise", "tied")
"""Roles that can make units rather than only read or rescale them."""


@dataclass
class _Draft:
    """Tensor sides on their way to becoming one group."""

    units: int
    keys: set[Key] = field(default_factory=set)
    sides: set[Side] = field(default_factory=set)
    unruled: set[str] = field(default_factory=set)
    """Layers that take part and for which there is no rule."""

    def join(self, other: _Draft) -> None:
        self.units = gcd(self.units, other.units)
        self.keys |= other.keys
        self.sides |= other.sides
        self.unruled |= other.unruled


def coupled_groups(wiring: Wiring, couplings: Sequence[Coupling], taken: Iterable[Key] = ()) -> list[Group]:
    """Return candidate groups, each tensor side in one of them at most, in the network's order.

    Args:
        wiring: What is known of the layers.
        couplings: What the proposer takes for coupled.
        taken: Tensor sides that belong to verified groups already and are left out.
    """
    taken = set(taken)
    drafts = [_draft(wiring, coupling.units, whole) for coupling in couplings if (whole := _whole(coupling))]
    drafts = _united(drafts)
    seen = {key for draft in drafts for key in draft.keys}
    drafts += _united([d for c in couplings for d in _leftovers(wiring, c, seen) if not d.keys & seen])
    for draft in drafts:
        draft.keys -= taken
        draft.sides -= {side for side in draft.sides if taken & set(side.keys)}
    return in_order(wiring, [group(wiring, draft.units, draft.keys, draft.sides, draft.unruled) for draft in drafts
                             if _makes_units(wiring, draft)])  # fmt: skip


def head_group(wiring: Wiring, together: Sequence[Heads], units: int, tables: Iterable[Key] = ()) -> Group | None:
    """Return attention heads as a candidate group of `units` heads; None where the layers' rules do not hold.

    Args:
        wiring: What is known of the layers.
        together: Attention modules whose heads go together, at least one.
        units: Number of heads.
        tables: Tensor sides with an entry for each head, such as biases by relative position.
    """
    ends = [(path, "out") for heads in together for path in heads.makers]
    ends += [(heads.reader, "in") for heads in together]
    if any(end not in wiring.sides for end in ends):
        return None
    draft = _Draft(units, set(tables), {wiring.sides[end] for end in ends})
    draft.sides |= {side for key in draft.keys for side in wiring.holders.get(key, ())}
    _close(wiring, draft)
    if draft.units != units:
        return None
    found = group(wiring, units, draft.keys, draft.sides)
    return Group(together[0].path, found.units, found.members, found.attributes)


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
    ordered = sorted(keys, key=lambda key: (wiring.index[key[0]], key[1]))
    members = tuple(Member(name, dim, wiring.role((name, dim)), wiring.size((name, dim)) // units)
                    for name, dim in ordered)  # fmt: skip
    attributes = {
        SizeAttribute(side.path, name, value // units, index) for side in sides for name, index, value in side.sizes
    }
    declared = tuple(sorted(attributes, key=lambda a: (a.module, a.attribute, a.index)))
    stuck = sorted(unruled)
    reason = f"propose: there is no rule for what '{stuck[0]}' does with its units" if stuck else ""
    return Group(_name(wiring, ordered), units, members, declared, reason)


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
    return any(wiring.role(key) in MAKING for key in draft.keys)


def _whole(coupling: Coupling) -> list[Touch]:
    return [touch for touch in coupling.touches if touch.whole]


def _draft(wiring: Wiring, units: int, touches: Iterable[Touch]) -> _Draft:
    draft = _Draft(units)
    for touch in touches:
        if touch.end == "raw":
            draft.keys.add((touch.path, touch.dim))
        elif (touch.path, touch.end) in wiring.sides:
            draft.sides.add(wiring.sides[touch.path, touch.end])
        else:
            draft.unruled.add(touch.path)
    _close(wiring, draft)
    return draft


def _close(wiring: Wiring, draft: _Draft) -> None:
    """Add everything that cannot but go along: other tensors of the same sides, other holders of tied tensors."""
    waiting = list(draft.sides) + [side for key in draft.keys for side in wiring.holders.get(key, ())]
    while waiting:
        side = waiting.pop()
        fresh = [key for key in side.keys if key not in draft.keys]
        draft.sides.add(side)
        draft.keys.update(fresh)
        waiting += [other for key in fresh for other in wiring.holders[key] if other not in draft.sides]
    divisors = [side.divides for side in draft.sides if side.divides]
    draft.units = reduce(gcd, [*divisors, *(wiring.size(key) for key in draft.keys)], draft.units)


def _united(drafts: Iterable[_Draft]) -> list[_Draft]:
    """Return drafts joined wherever they share a tensor side or a layer side."""
    united: list[_Draft] = []
    for draft in drafts:
        apart = []
        for other in united:
            if other.keys & draft.keys or other.sides & draft.sides:
                draft.join(other)
            else:
                apart.append(other)
        united = [*apart, draft]
    return united


def _leftovers(wiring: Wiring, coupling: Coupling, seen: set[Key]) -> Iterator[_Draft]:
    """Yield drafts for sides that a coupling covers only in part (padding, concatenation), one for each length."""
    lengths: defaultdict[int, list[Touch]] = defaultdict(list)
    for touch in coupling.touches:
        side = wiring.sides.get((touch.path, touch.end))
        if not touch.whole and side is not None and side.keys and not seen & set(side.keys):
            lengths[max(wiring.size(key) for key in side.keys)].append(touch)
    for length, touches in lengths.items():
        yield _draft(wiring, length, touches)
