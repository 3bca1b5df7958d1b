"""Step meaning: a slice must compute what the full network computes without the dropped units.

"Without" has two readings, and one of them must hold. *Mask*: whatever reads the dropped units reads zeros instead;
true for most networks. *Repeat*: the dropped units repeat kept ones and their readers share the weight; exact under
norms that average over units, such as layer norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from concertina.analyse.cut import kept_counts
from concertina.analyse.events import first_difference, is_prefix, record
from concertina.analyse.memo import Tape
from concertina.analyse.permute import rigid, spoken
from concertina.analyse.probe import SAME, Probe
from concertina.analyse.slicing import narrowed_copy
from concertina.analyse.units import reindexed, taken
from concertina.errors import AnalysisError
from concertina.types import Group, Member, dropped_range

Meaning = Literal["mask", "repeat"]
READINGS: tuple[Meaning, ...] = ("mask", "repeat")
Cut = tuple[Group, int, Meaning]
"""A group, the units it keeps (a divisor of all for "repeat"), and the reading."""


def check_meaning(probe: Probe, group: Group) -> tuple[Group, Meaning]:
    """Return the group and the reading that holds; rigid if none does.

    Args:
        probe: The randomised network.
        group: A group whose slices run.
    """
    failed: list[Cut] = []
    for meaning in READINGS:
        cuts: list[Cut] = [(group, kept, meaning) for kept in kept_counts(group)]
        wrong = [cut for cut in cuts if meaning_error(probe, [cut]) >= SAME]
        if not wrong:
            return group, meaning
        failed.append(wrong[0])
    _, where, kept = max((*_first_change(probe, cut), cut[1]) for cut in failed)
    some = f"with {kept} of its {group.units} units"
    return rigid(group, "meaning", f"{some} {spoken(where)} computes something else with those that are left"), "mask"


def meaning_error(probe: Probe, cuts: Sequence[Cut]) -> float:
    """Return the error of the slice against the full network in which the dropped units are silent or repeat others.

    Args:
        probe: The randomised network.
        cuts: The groups that are cut, each with the units it keeps and a reading.
    """
    try:
        sliced, tape = _sliced(probe, cuts)
        with probe.knowing(tape), probe.holding_untied(without_units(probe, cuts)):
            return probe.error(sliced, probe.run(probe.untied))
    except AnalysisError:
        return float("inf")


def _sliced(probe: Probe, cuts: Sequence[Cut]) -> tuple[Tensor, Tape]:
    """Return the outputs of the slice and their tape, kept from `check_slice` where it is one of a single group."""
    groups = [group for group, _, _ in cuts]
    known = probe.slices.get((groups[0], cuts[0][1])) if len(cuts) == 1 else None
    if known is not None:
        return known
    small, tape = narrowed_copy(probe.module, groups, {group.name: kept for group, kept, _ in cuts}), Tape()
    return probe.run(small, into=tape), tape


def without_units(probe: Probe, cuts: Sequence[Cut]) -> dict[str, Tensor]:
    """Return the tensors of the untied network, full-sized, in which the dropped units of some groups say nothing new.

    They lie in the probe's spare memory, and hold until the next call.

    Args:
        probe: The randomised network.
        cuts: The groups that are cut, each with the units it keeps and a reading.
    """
    values: dict[str, Tensor] = {}
    for group, kept, meaning in cuts:
        for member in group.members:
            for name, reads in _uses(probe, member):
                if meaning == "mask" and not reads:
                    continue
                if meaning == "repeat":
                    values[name] = _repeated(probe, name, values.get(name), member, group.units, kept)
                    if reads:
                        _units_of(values[name], member, group.units).mul_(kept / group.units)
                else:
                    tensor = values[name] = values[name] if name in values else probe.spare_copy(name)
                    start, stop = dropped_range(member, group.units, kept)
                    tensor.narrow(member.dim, start, stop - start).zero_()
    return values


def _repeated(probe: Probe, name: str, held: Tensor | None, member: Member, units: int, kept: int) -> Tensor:
    """Return a tensor of the untied network in which a member's first units stand in for the others, over and over.

    Args:
        probe: The randomised network.
        name: Name of the tensor.
        held: What it holds because of other groups, in the probe's spare memory, which is written over.
        member: One side of the tensor.
        units: Units of its group.
        kept: Units that are kept.
    """
    tensor = probe.untied_tensors[name].detach() if held is None else held
    if member.of:
        index = reindexed(member, torch.arange(units) % kept, tensor.shape[member.dim])
        return probe.spare(name).copy_(taken(tensor, member.dim, index))
    run, made = kept * member.positions, probe.spare(name)
    slots, first = made.unflatten(member.dim, (-1, run)), tensor.narrow(member.dim, 0, run).unsqueeze(member.dim)
    if held is None:
        slots.copy_(first)
    else:
        slots.narrow(member.dim, 1, units // kept - 1).copy_(first)
    return made


def _units_of(tensor: Tensor, member: Member, units: int) -> Tensor:
    """Return the run of positions that a member's units own, as a view."""
    return tensor.narrow(member.dim, member.start, units * member.positions)


def _uses(probe: Probe, member: Member) -> Iterator[tuple[str, bool]]:
    """Yield (name in the untied network, whether it reads the units) for every layer that holds a member's tensor."""
    key = (member.tensor, member.dim)
    holders = probe.wiring.holders.get(key, ())
    for side in holders:
        for (attribute, _), held in zip(side.tensors, side.keys, strict=True):
            if held == key:
                yield f"{side.path}.{attribute}" if side.path else attribute, side.role == "in"
    if not holders:
        yield member.tensor, member.role == "in"


def _first_change(probe: Probe, cut: Cut) -> tuple[int, str]:
    """Return where (call number, path) the slice first differs from the prefix of what the full network gives."""
    group, kept, _ = cut
    with probe.holding_untied(without_units(probe, [cut])), probe.memory():
        events = record(probe.untied, probe.inputs)
    small = narrowed_copy(probe.module, [group], {group.name: kept})
    with probe.memory():
        found = first_difference(small, probe.inputs, events, lambda _path, new, old: is_prefix(new, old))
    return found or (0, "")
