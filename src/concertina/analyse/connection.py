"""Whether a group is one group: no part of it can be reordered while the rest stays as it is.

Two groups of equally many units pass every other test when they are taken for one. So a part is grown from the first
maker: reorder it alone, see which module is the first to give something else, add the members there, and so on, until
nothing is disturbed any more. If that happens before all members are in, the group falls apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from torch import Tensor

from concertina.analyse.events import first_difference, is_close
from concertina.analyse.layers import Key, Side
from concertina.analyse.probe import Probe, replaced
from concertina.analyse.units import is_bias, moved, reordered
from concertina.types import Group


def separate_part(probe: Probe, group: Group, order: Tensor) -> tuple[str, str] | None:
    """Return (a tensor inside, a tensor outside) of a part that can be reordered alone; None for one whole group.

    Args:
        probe: The randomised network.
        group: A group whose permutation changes nothing.
        order: (units,) the order to try.

    Source: ours.
    """
    keys = list(dict.fromkeys((member.tensor, member.dim) for member in group.members))
    part = set(_first_maker(probe, keys))
    may_stand = reordered(order, probe.batch)

    def same(path: str, new: Tensor, old: Tensor) -> bool:
        return is_close(new, old) if path == "" else may_stand(path, new, old)

    while part < set(keys):
        members = [member for member in group.members if (member.tensor, member.dim) in part]
        with replaced(probe.tensors, moved(probe.tensors, members, order)):
            found = first_difference(probe.module, probe.inputs, probe.events, same)
        outside = [key for key in keys if key not in part]
        if found is None:
            telling = next((key for key in outside if not is_bias(key[0])), None)
            return (keys[0][0], telling[0]) if telling else None
        part |= set(_next(probe, outside, *found))
    return None


def _first_maker(probe: Probe, keys: list[Key]) -> Iterator[Key]:
    """Yield the members on the side of the first layer that makes units; the first member where there is none."""
    for key in keys:
        for side in probe.wiring.holders.get(key, ()):
            if side.role in ("out", "depthwise"):
                yield from (other for other in side.keys if other in keys)
                return
    yield keys[0]


def _next(probe: Probe, outside: list[Key], count: int, path: str) -> list[Key]:
    """Return the members to add, after module `path` gave something else in call number `count`.

    First its own readers and scales; then the nearest maker that was called before it; then tensors that are used by
    themselves, in the module closest by; then whatever is left, in order.
    """
    here = [side for side in _sides_at(probe, path) if side.role != "out"]
    for sides in (here, *_makers_before(probe, count)):
        if found := [key for side in sides for key in side.keys if key in outside]:
            return found
    raw = [key for key in outside if key not in probe.wiring.holders]
    nearest = max((_shared_parts(name, path) for name, _ in raw), default=0)
    return [key for key in raw if _shared_parts(key[0], path) == nearest] or outside[:1]


def _shared_parts(name: str, path: str) -> int:
    """Return how many leading parts two dotted names share."""
    pairs = zip(name.split("."), path.split("."), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _makers_before(probe: Probe, count: int) -> Iterator[list[Side]]:
    for path, _ in reversed(probe.events[:count]):
        yield [side for side in _sides_at(probe, path) if side.role != "in"]


def _sides_at(probe: Probe, path: str) -> list[Side]:
    sides = (probe.wiring.sides.get((path, end)) for end in ("in", "out", "again"))
    return list(dict.fromkeys(side for side in sides if side is not None))
