"""Whether a group is one group: no part of it can be reordered while the rest stays as it is.

Two groups of equally many units pass every other test when they are taken for one. So a part is grown from the first
maker: reorder it alone, see which module is the first to give something else, add the members there, and so on, until
nothing is disturbed any more. If that happens before all members are in, the group falls apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import takewhile

import torch
from torch import Tensor

from concertina.analyse.events import first_difference, is_close
from concertina.analyse.layers import Key, Side
from concertina.analyse.memo import Tape
from concertina.analyse.probe import Probe
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
    part, fresh = set[Key](), set(_first_maker(probe, keys))
    tape, rule = Tape(), _Standing(order, probe.batch)
    originals: dict[str, Tensor] = {}
    with ExitStack() as held, probe.knowing(tape):
        while (part := part | fresh) < set(keys):
            names = {name for name, _ in fresh}
            members = [m for m in group.members if m.tensor in names and (m.tensor, m.dim) in part]
            values = moved({**probe.tensors, **originals}, members, order)
            originals = held.enter_context(probe.holding(values)) | originals
            with probe.memory(tape):
                found = first_difference(probe.module, probe.inputs, probe.events, rule.from_the_start())
            outside = [key for key in keys if key not in part]
            if found is None:
                telling = next((key for key in outside if not is_bias(key[0])), None)
                return (keys[0][0], telling[0]) if telling else None
            fresh = set(_next(probe, outside, *found))
    return None


class _Standing:
    """Which tensors may stand in the place of those before: equal ones, or reordered ones where no output is.

    What stood in one run and is the same in the next is not looked at again.
    """

    def __init__(self, order: Tensor, batch: int) -> None:
        self._may_stand = reordered(order, batch)
        self._stood: list[Tensor] = []
        self._place = 0

    def from_the_start(self) -> Callable[[str, Tensor, Tensor], bool]:
        """Return the rule for one more run."""
        self._place = 0
        return self._stands

    def _stands(self, path: str, new: Tensor, old: Tensor) -> bool:
        place, self._place = self._place, self._place + 1
        if place < len(self._stood) and torch.equal(self._stood[place], new):
            return True
        stands = is_close(new, old) if path == "" else self._may_stand(path, new, old)
        if stands:
            self._stood[place : place + 1] = [new.clone()]
        return stands


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
