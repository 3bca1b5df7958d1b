"""Steps permute and control: reordering units must change nothing, and every member must be needed for that."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from concertina.analyse.connection import separate_part
from concertina.analyse.events import first_difference
from concertina.analyse.memo import Tape
from concertina.analyse.probe import DIFFERENT, SAME, Probe
from concertina.analyse.units import cycles, is_bias, is_reordered, moved, reindexed, reordered, taken
from concertina.types import Group, Member
from concertina.types.network import IS_OUTPUT

NOTICED = 3e-4
"""Relative error above which leaving out a member counts as noticed, however rough the network computes."""
MARGIN = 300
"""Less is noticed too when it is so many times what rounding does, and what reordering the whole group does."""


def rigid(group: Group, step: str, why: str) -> Group:
    """Return a group as rigid because of a step; without a step, for a reason that stands by itself."""
    return replace(group, rigid=f"{step}: {why}" if step else why)


def spoken(path: str) -> str:
    """Return a module's path as it stands in a sentence."""
    return f"'{path}'" if path else "the network as a whole"


def check_permutation(probe: Probe, group: Group) -> tuple[Group, float]:
    """Return the group, rigid if reordering its units on all members changes the outputs, and the error seen.

    Args:
        probe: The randomised network.
        group: A candidate; two orders that move every unit are tried.
    """
    if group.units < 2:
        return rigid(group, "", IS_OUTPUT if _scales_output(probe, group) else "it has one unit only"), 0.0
    errors = []
    for order in cycles(group, probe.generator()):
        values = moved(probe.tensors, group.members, order)
        error, outputs = probe.disturbed(values)
        if error >= SAME:
            return _why_not_reordered(probe, group, order, values, error, outputs), error
        errors.append(error)
    return group, max(errors)


def _why_not_reordered(
    probe: Probe, group: Group, order: Tensor, values: dict[str, Tensor], error: float, outputs: Tensor | None
) -> Group:
    if outputs is not None and is_reordered(outputs, probe.outputs, order, probe.batch):
        return rigid(group, "", IS_OUTPUT)
    if error < DIFFERENT:
        return rigid(group, "permute", f"reordering its units gives an unclear error of {error:.0e}")
    return rigid(group, "permute", f"reordering its units changes what {_where(probe, values, order)} computes")


def check_control(probe: Probe, group: Group, error: float = SAME) -> Group:
    """Return the group, rigid if a member is not needed or a part of the group can be reordered by itself.

    Biases are not asked for: some have no effect at all, as that of a key before a softmax. What counts as an effect
    goes by what rounding and reordering all members do, so that neither a network that hardly listens to a layer
    hides its members, nor a stranger with a tiny effect passes for one: that shows in both.

    Args:
        probe: The randomised network.
        group: A group that passed `check_permutation`.
        error: The error that was seen there.
    """
    order = next(cycles(group, probe.generator()))
    inert = _inert_member(probe, group, order, min(NOTICED, MARGIN * max(error, probe.roughness)))
    if inert is not None:
        return rigid(group, "control", f"'{inert.tensor}' makes no difference, so it may not belong to the group")
    part = separate_part(probe, group, order)
    if part is not None:
        inside, outside = part
        return rigid(group, "control", f"'{inside}' can be reordered without '{outside}': these are several groups")
    return group


def _inert_member(probe: Probe, group: Group, order: Tensor, noticed: float) -> Member | None:
    """Return the first member that can be left out of a reordering unnoticed; None when there is none.

    Leaving it out is as good as reordering it alone, the other way round. Where the derivative says that this is
    noticed nothing is run; for the others all members are reordered, and each by itself is put back.
    """
    asked = [m for m in group.members if not is_bias(m.tensor) and not _is_felt(probe, m, order, noticed)]
    if not asked:
        return None
    tape = Tape()
    with probe.holding(moved(probe.tensors, group.members, order)) as before:
        probe.run(into=tape)
        with probe.knowing(tape):
            for done, member in enumerate(asked):
                probe.going_on(done / len(asked))
                same_tensor = [other for other in group.members if other.tensor == member.tensor]
                error, _ = probe.disturbed(moved(before, same_tensor, order, without=member))
                if error <= noticed:
                    return member
    return None


def _is_felt(probe: Probe, member: Member, order: Tensor, noticed: float) -> bool:
    """Return whether the outputs surely change, to first order, when one member alone is reordered."""
    slope = probe.slopes.get(member.tensor)
    if slope is None:
        return False
    tensor = probe.tensors[member.tensor].detach()
    there = taken(tensor, member.dim, reindexed(member, order, tensor.shape[member.dim]))
    return probe.share_of(float((slope * there.sub_(tensor)).sum())) > noticed


def _scales_output(probe: Probe, group: Group) -> bool:
    """Return whether doubling what makes the units doubles the outputs."""
    makers = {member.tensor for member in group.members if member.role == "out"}
    _, outputs = probe.disturbed({name: 2 * probe.tensors[name].detach() for name in makers})
    return outputs is not None and probe.error(outputs, 2 * probe.outputs) < SAME


def _where(probe: Probe, values: dict[str, Tensor], order: Tensor) -> str:
    with probe.holding(values), probe.memory():
        found = first_difference(probe.module, probe.inputs, probe.events, reordered(order, probe.batch))
    return spoken(found[1] if found else "")
