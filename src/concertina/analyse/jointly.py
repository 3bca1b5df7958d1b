"""Step jointly: groups and blocks that hold one by one must hold together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import Module

from concertina.analyse.blocks import skipping
from concertina.analyse.cut import cause
from concertina.analyse.meaning import Cut, without_units
from concertina.analyse.permute import rigid
from concertina.analyse.probe import SAME, Probe
from concertina.analyse.reach import why_training_breaks
from concertina.analyse.slicing import as_contiguous, every_tensor, light_copy, narrowed_copy, whole_copy
from concertina.analyse.units import cycles, moved
from concertina.analyse.verify import Verdict
from concertina.errors import AnalysisError
from concertina.types import Block

SUBNETS = 12
"""How many subnets are tried, the smallest included."""
_T = TypeVar("_T")
Picks = tuple[dict[str, int], list[Block]]
"""Group name -> units kept, and the skipped blocks."""


def verify_jointly(
    probes: Sequence[Probe], verdicts: Sequence[Verdict], blocks: Sequence[Block]
) -> tuple[list[Verdict], list[Block]]:
    """Return verdicts and blocks of which the elastic ones hold together; whatever breaks the rest becomes rigid.

    Args:
        probes: The randomised network on inputs of every size, at least one.
        verdicts: What was found out about each group by itself.
        blocks: What was found out about each block by itself.
    """
    elastic = [verdict for verdict in verdicts if verdict.group.elastic]
    skippable = [block for block in blocks if block.elastic]
    if not why_not_jointly(probes, elastic, skippable):
        return list(verdicts), list(blocks)
    held, broken = _sifted([], elastic, lambda some: why_not_jointly(probes, some, []))
    whys = {verdict.group.name: why for verdict, why in broken}
    _, fallen = _sifted([], skippable, lambda some: why_not_jointly(probes, held, some))
    reasons = {block.path: why for block, why in fallen}
    judged = [
        replace(verdict, group=rigid(verdict.group, "jointly", whys[verdict.group.name]))
        if verdict.group.name in whys
        else verdict
        for verdict in verdicts
    ]
    return judged, [
        replace(block, rigid=f"jointly: {reasons[block.path]}") if block.path in reasons else block for block in blocks
    ]


def _sifted(held: list[_T], more: list[_T], why: Callable[[list[_T]], str]) -> tuple[list[_T], list[tuple[_T, str]]]:
    """Return those of `more` that hold with `held` and each other, after these, and the others with their reasons.

    Halves are tried as a whole, so that one that breaks many is found in a few tries.
    """
    reason = why([*held, *more]) if more else ""
    if not reason:
        return [*held, *more], []
    if len(more) == 1:
        return held, [(more[0], reason)]
    half = len(more) // 2
    held, first = _sifted(held, more[:half], why)
    held, second = _sifted(held, more[half:], why)
    return held, first + second


def why_not_jointly(probes: Sequence[Probe], verdicts: Sequence[Verdict], blocks: Sequence[Block]) -> str:
    """Return why groups and skipped blocks do not hold together; "" when they do.

    All groups are reordered at once; then the smallest subnet and random ones are run. Each must give the same as its
    copy, and as the full network without the dropped units. Every operation is run: nothing is remembered here.

    Args:
        probes: The randomised network on inputs of every size, at least one.
        verdicts: Elastic groups.
        blocks: Blocks that may be skipped.
    """
    with ExitStack() as plainly:
        for probe in probes:
            plainly.enter_context(probe.plainly())
        return _why_not_jointly(probes, verdicts, blocks)


def _why_not_jointly(probes: Sequence[Probe], verdicts: Sequence[Verdict], blocks: Sequence[Block]) -> str:
    probe, generator = probes[0], probes[0].generator()
    values: dict[str, Tensor] = {}
    for verdict in verdicts:
        members = verdict.group.members
        values |= moved({**probe.tensors, **values}, members, next(cycles(verdict.group, generator)))
    if any(probe.disturbed(values)[0] >= SAME for probe in probes):
        return "reordering it together with other groups changes what the network computes"
    for done, (kept, skipped) in enumerate(_picks(verdicts, blocks, generator)):
        probe.going_on(done / SUBNETS)
        if why := _why_it_fails(probes, verdicts, kept, skipped):
            return f"together with other groups and blocks, {why}"
    return ""


def _picks(verdicts: Sequence[Verdict], blocks: Sequence[Block], generator: torch.Generator) -> Iterator[Picks]:
    """Yield the smallest subnet, with and without blocks, then random ones."""
    smallest = {verdict.group.name: 1 for verdict in verdicts}
    yield smallest, []
    yield smallest, list(blocks)
    for count in range(SUBNETS - 2):
        kept = {verdict.group.name: _some_units(verdict, count % 2 == 0, generator) for verdict in verdicts}
        yield kept, [block for block in blocks if torch.rand(1, generator=generator) < 0.5]


def _some_units(verdict: Verdict, comparable: bool, generator: torch.Generator) -> int:
    """Return a random number of units; one that the meaning can be compared for, where that is asked."""
    units = verdict.group.units
    choices = [n for n in range(1, units + 1) if not comparable or verdict.meaning == "mask" or units % n == 0]
    return choices[int(torch.randint(len(choices), (1,), generator=generator))]


def _why_it_fails(
    probes: Sequence[Probe], verdicts: Sequence[Verdict], kept: dict[str, int], skipped: list[Block]
) -> str:
    module, untied = probes[0].module, probes[0].untied
    view = narrowed_copy(module, [verdict.group for verdict in verdicts], kept)
    named = {**dict(view.named_parameters()), **dict(view.named_buffers())}
    own = whole_copy(view, as_contiguous({name: tensor.detach() for name, tensor in named.items()}))
    cuts = [(verdict.group, kept[verdict.group.name], verdict.meaning) for verdict in verdicts]
    comparable = all(meaning == "mask" or group.units % units == 0 for group, units, meaning in cuts)
    with skipping(view, skipped), skipping(own, skipped), skipping(untied, skipped):
        full = _without(probes[0], cuts) if comparable else view
        if why := next(filter(None, (_difference(probe, view, own, full) for probe in probes)), ""):
            return why
    is_smallest = not skipped and max(kept.values(), default=0) == 1
    if is_smallest and any(_untrainable(probe, view) for probe in probes):
        return "the smallest network fails in train mode"
    return ""


def _difference(probe: Probe, view: Module, own: Module, full: Module) -> str:
    """Return how the outputs of a subnet differ from those of its copy and those of the full network; "" for nohow."""
    try:
        outputs = probe.run(view)
        if probe.error(outputs, probe.run(own)) >= SAME:
            return "views and copies of the weights give different outputs"
        expected = outputs if full is view else probe.run(full)
    except AnalysisError as error:
        return f"a smaller network fails: {cause(error)}"
    if outputs.shape != probe.outputs.shape or probe.error(outputs, expected) >= SAME:
        return "the units that are left do not mean what they should"
    return ""


def _without(probe: Probe, cuts: Sequence[Cut]) -> Module:
    """Return the untied network, full-sized, in which dropped units say nothing new."""
    tensors = {name: tensor.detach() for name, tensor in every_tensor(probe.untied).items()}  # some blocks are out
    values = {name: value for name, value in without_units(probe, cuts).items() if name in tensors}
    return light_copy(probe.untied, tensors, values)


def _untrainable(probe: Probe, view: Module) -> bool:
    return probe.trains and bool(why_training_breaks(view, probe.inputs, probe.steady))
