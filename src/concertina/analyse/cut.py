"""Steps slice and train: the network must run with a part of the units, in eval and in train mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from concertina.analyse.attention import ALL_HEADS, HEAD_COUNTS, number
from concertina.analyse.events import failing_path
from concertina.analyse.memo import Tape
from concertina.analyse.permute import rigid, spoken
from concertina.analyse.probe import Probe
from concertina.analyse.reach import why_training_breaks
from concertina.analyse.slicing import narrowed_copy
from concertina.errors import AnalysisError
from concertina.types import Group, SizeAttribute


def kept_counts(group: Group) -> list[int]:
    """Return the numbers of units that are tried: the largest part that divides the whole, and one unit.

    Example:
        >>> kept_counts(Group("a", 12, ())), kept_counts(Group("a", 7, ()))
        ([6, 1], [1])
    """
    smallest = next(d for d in range(2, group.units + 1) if group.units % d == 0)
    return list(dict.fromkeys((group.units // smallest, 1)))


def check_slice(probe: Probe, group: Group) -> Group:
    """Return the group, rigid if the network breaks with a part of its units.

    Args:
        probe: The randomised network.
        group: A group of two or more units.
    """
    why = _why_it_breaks(probe, group)
    return rigid(group, "slice", why) if why else group


def trained(probe: Probe, groups: Sequence[Group]) -> list[Group]:
    """Return groups, those rigid with a part of whose units the network breaks in train mode although it runs whole.

    All are cut at once, and one by one only where that breaks: one that breaks it alone breaks it with the others too.

    Args:
        probe: The randomised network.
        groups: Groups that passed `check_slice`; rigid ones stay as they are.
    """
    elastic = [group for group in groups if group.elastic]
    if not probe.trains or not _breaks_training(probe, elastic):
        return list(groups)
    return [_trained(probe, group) if group.elastic else group for group in groups]


def _trained(probe: Probe, group: Group) -> Group:
    some = f"with {kept_counts(group)[0]} of its {group.units} units"
    return (
        rigid(group, "slice", f"{some} the network fails in train mode") if _breaks_training(probe, [group]) else group
    )


def _breaks_training(probe: Probe, groups: Sequence[Group]) -> bool:
    small = narrowed_copy(probe.module, groups, {group.name: kept_counts(group)[0] for group in groups})
    return bool(why_training_breaks(small, probe.inputs, probe.steady))


def with_head_counts(probe: Probe, group: Group) -> Group:
    """Return the group with the numbers and sizes of heads that the modules around its members declare."""
    known = {(declared.module, declared.attribute) for declared in group.attributes}
    around = {
        side.path.rpartition(".")[0]
        for member in group.members
        for side in probe.wiring.holders.get((member.tensor, member.dim), ())
    }
    found = [
        SizeAttribute(path, name, value // group.units)
        for path in sorted(around)
        for name in (*HEAD_COUNTS, *ALL_HEADS)
        if (value := number(probe.module.get_submodule(path), name)) and value % group.units == 0
    ]
    fresh = tuple(declared for declared in found if (declared.module, declared.attribute) not in known)
    return replace(group, attributes=(*group.attributes, *fresh))


def _why_it_breaks(probe: Probe, group: Group) -> str:
    probe.slices.clear()
    for kept in kept_counts(group):
        tape = Tape()
        small = narrowed_copy(probe.module, (group,), {group.name: kept})
        some = f"with {kept} of its {group.units} units"
        try:
            outputs, _ = probe.slices[group, kept] = probe.run(small, into=tape), tape
        except AnalysisError as error:
            return f"{some} {spoken(failing_path(small, probe.inputs))} fails: {cause(error)}"
        if outputs.shape != probe.outputs.shape:
            return f"{some} the output has shape {tuple(outputs.shape)} instead of {tuple(probe.outputs.shape)}"
    return ""


def cause(error: AnalysisError) -> str:
    """Return the first line of what a network said when it broke off."""
    return next(iter(str(error.__cause__).splitlines()), "") if error.__cause__ else "it gives no finite outputs"
