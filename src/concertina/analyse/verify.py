"""The judge: what a group must pass on a randomised network before anyone believes in it.

propose   whoever proposed it is not believed; layers without a rule end it here
permute   reordering the units on all members at once changes nothing
control   reordering one member alone changes something, and no part of the group is whole by itself
slice     with a part of the units the network runs and its outputs keep their shape, in train mode too (`cut.trained`)
meaning   the slice computes what the full network computes when the dropped units are silent, or repeat others
jointly   all of that for all groups together (`jointly.py`)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from concertina.analyse.cut import check_slice, with_head_counts
from concertina.analyse.meaning import Meaning, check_meaning
from concertina.analyse.permute import check_control, check_permutation
from concertina.analyse.probe import Probe
from concertina.types import Group


@dataclass(frozen=True)
class Verdict:
    """What verification found out about one group."""

    group: Group
    """The group, rigid with the first step that failed, or elastic with all its declared sizes."""
    meaning: Meaning = "mask"
    """The reading under which its slices mean what they should."""


def verify_group(probe: Probe, group: Group) -> Verdict:
    """Return the verdict on a proposed group, by the steps permute, control, slice and meaning.

    Where one of the last two fails, declared numbers and sizes of heads that follow the units are taken into the group,
    and both are tried again.

    Args:
        probe: The randomised network.
        group: A proposal; one that is rigid already stays as it is.

    Source: PROTOTYPE section 1 (ours).
    """
    tried, error = (group, 0.0) if group.rigid else check_permutation(probe, group)
    return _verify_reordered(probe, tried, error)


def _verify_reordered(probe: Probe, tried: Group, error: float) -> Verdict:
    """Return the verdict on a group that went through the step permute, with the error seen there."""
    group = tried if tried.rigid else check_control(probe, tried, error)
    if group.rigid:
        return Verdict(group)
    verdict = _cut(probe, group)
    with_heads = with_head_counts(probe, group) if verdict.group.rigid else group
    again = _cut(probe, with_heads) if with_heads != group else verdict
    return verdict if again.group.rigid else again


def _cut(probe: Probe, group: Group) -> Verdict:
    """Return the verdict by the steps slice and meaning."""
    sliced = check_slice(probe, group)
    return Verdict(sliced) if sliced.rigid else Verdict(*check_meaning(probe, sliced))


def verify_first(probe: Probe, alternatives: Iterable[Group]) -> Verdict:
    """Return the verdict on the first of some alternatives that can be reordered, or else on the very first.

    Args:
        probe: The randomised network.
        alternatives: Readings of one proposal, the likeliest first, at least one.
    """
    first: Group | None = None
    for group in alternatives:
        tried, error = (group, 0.0) if group.rigid else check_permutation(probe, group)
        if not tried.rigid:
            return _verify_reordered(probe, tried, error)
        first = first or tried
    if first is None:
        raise ValueError("a proposal needs at least one reading")
    return Verdict(first)
