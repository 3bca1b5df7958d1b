"""Steps permute and control: reordering units must change nothing, and every member must be needed for that."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from concertina.analyse.connection import separate_part
from concertina.analyse.events import first_difference
from concertina.analyse.memo import Tape
from concertina.analyse.probe import DIFFERENT, SAME, Probe
from concertina.analyse.units import cycles, is_bias, is_reordered, moved, reordered
from concertina.types import Group, Member
from concertina.types.network import IS_OUTPUT

NOTICED = 3e-4
"""Relative error above which leaving out a member counts as noticed."""


def rigid(group: Group, step: str, why: str) -> Group:
    """Return a group as rigid because of a step; without a step, for a reason that stands by itself."""
    return replace(group, rigid=f"{step}: {why}" if step else why)


def spoken(path: str) -> str:
    """Return a module's path as it stands in a sentence."""
    return f"'{path}'" if path else "the network as a whole"


def check_permutation(probe: Probe, group: Group) -> Group:
    """Return the group, rigid if reordering its units on all members changes the outputs.

    Args:
        probe: The randomised network.
        group: A candidate; two orders that move every unit are tried.
    """
    if group.units < 2:
        return rigid(group, "", IS_OUTPUT if _scales_output(probe, group) else "it has one unit only")
    for order in cycles(group, probe.generator()):
        values = moved(probe.tensors, group.members, order)
        error, outputs = probe.disturbed(values)
        if error < SAME:
            continue
        if outputs is not None and is_reordered(outputs, probe.outputs, order, probe.batch):
            return rigid(group, "", IS_OUTPUT)
        if error < DIFFERENT:
            return rigid(group, "permute", f"reordering its units gives an unclear error of {error:.0e}")
        return rigid(group, "permute", f"reordering its units changes what {_where(probe, values, order)} computes")
    return group


def check_control(probe: Probe, group: Group) -> Group:
    """Return the group, rigid if a member is not needed or a part of the group can be reordered by itself.

    Biases are not asked for: some have no effect at all, as that of a key before a softmax.

    Args:
        probe: The randomised network.
        group: A group that passed `check_permutation`.
    """
    order = next(cycles(group, probe.generator()))
    inert = _inert_member(probe, group, order)
    if inert is not None:
        return rigid(group, "control", f"'{inert.tensor}' makes no difference, so it may not belong to the group")
    part = separate_part(probe, group, order)
    if part is not None:
        inside, outside = part
        return rigid(group, "control", f"'{inside}' can be reordered without '{outside}': these are several groups")
    return group


def _inert_member(probe: Probe, group: Group, order: Tensor) -> Member | None:
    """Return the first member that can be left out of a reordering unnoticed; None when there is none.

    All members are reordered, and each by itself is put back.
    """
    tape = Tape()
    with probe.holding(moved(probe.tensors, group.members, order)) as before:
        probe.run(into=tape)
        with probe.knowing(tape):
            asked = [member for member in group.members if not is_bias(member.tensor)]
            for done, member in enumerate(asked):
                probe.going_on(done / len(asked))
                same_tensor = [other for other in group.members if other.tensor == member.tensor]
                error, _ = probe.disturbed(moved(before, same_tensor, order, without=member))
                if error <= NOTICED:
                    return member
    return None


def _scales_output(probe: Probe, group: Group) -> bool:
    """Return whether doubling what makes the units doubles the outputs."""
    makers = {member.tensor for member in group.members if member.role == "out"}
    _, outputs = probe.disturbed({name: 2 * probe.tensors[name].detach() for name in makers})
    return outputs is not None and probe.error(outputs, 2 * probe.outputs) < SAME


def _where(probe: Probe, values: dict[str, Tensor], order: Tensor) -> str:
    with probe.holding(values), probe.memory():
        found = first_difference(probe.module, probe.inputs, probe.events, reordered(order, probe.batch))
    return spoken(found[1] if found else "")
