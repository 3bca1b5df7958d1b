"""The growth order: which step next, by worth per price."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor

from concertina.axes import AXES
from concertina.types import Dim, GrowthOrder, Scores, Space, SubnetSpec


class Costs(Protocol):
    """What a subnet costs; `measure.cost.CostModel` is one."""

    def macs(self, spec: SubnetSpec) -> int:
        """Return multiply-accumulates for one input."""

    def params(self, spec: SubnetSpec) -> int:
        """Return the number of parameters."""

    def size_bytes(self, spec: SubnetSpec) -> int:
        """Return the bytes of all tensors."""


Price = Callable[[SubnetSpec], float]
"""What orders count as the price of a subnet: its MACs, or its time in units as small."""


def growth_order(
    space: Space, scores: Scores, permutations: Mapping[str, Tensor], costs: Costs, price: Price | None = None
) -> GrowthOrder:
    """Return the growth order that follows from a criterion's scores; see `step_worths` and `build_growth_order`.

    What steps are worth does not depend on the price, which is MACs unless said.
    """
    return build_growth_order(space, step_worths(space, scores, permutations, costs), price or costs.macs)


def step_worths(
    space: Space, scores: Scores, permutations: Mapping[str, Tensor], costs: Costs
) -> dict[str, tuple[float, ...]]:
    """Return dim name -> worth of each of its growth steps (len(choices) - 1 of them).

    A channel step is worth the sum of its units' scores. Scores that are no losses are rescaled so that each group is
    worth its share of the MACs. A block step is worth the measured rise of the loss without the block, less what the
    channel steps inside are worth, for those come later.
    """
    worths: dict[str, tuple[float, ...]] = {}
    for dim in space.dims:
        if dim.is_gate or costs_nothing(dim):
            continue
        units = scores.units[dim.target].double()[permutations[dim.target]].clamp_min(0)
        scale = 1.0 if scores.is_loss else _macs_share(space, dim, costs) / max(float(units.sum()), 1e-30)
        worths[dim.name] = tuple(
            float(units[low:high].sum()) * scale for low, high in zip(dim.choices, dim.choices[1:], strict=False)
        )
    return worths | _block_worths(space, scores, worths, costs)


def costs_nothing(dim: Dim) -> bool:
    """Return whether a dim grows before all others, since its choices hardly cost anything."""
    return AXES.get(dim.axis).tags.costs_nothing


def free_steps(space: Space) -> tuple[int, ...]:
    """Return the first steps of every growth order: all those of dims that cost nothing."""
    return tuple(i for i, dim in enumerate(space.dims) if costs_nothing(dim) for _ in dim.choices[1:])


def _block_worths(
    space: Space, scores: Scores, worths: Mapping[str, tuple[float, ...]], costs: Costs
) -> dict[str, tuple[float, ...]]:
    gates = [dim for dim in space.dims if dim.is_gate]
    inner = {gate.name: sum(sum(worths[d.name]) for d in _inside(space, gate)) for gate in gates}
    shares = {gate.name: _macs_share(space, gate, costs) for gate in gates}
    rises = {gate.name: max(0.0, scores.blocks.get(gate.target, 0.0)) for gate in gates}
    total = sum(rises.values())
    if not scores.is_loss or total <= 0:
        budget = sum(shares.values())
        rises = {name: budget * rise / total if total > 0 else shares[name] for name, rise in rises.items()}
    return {gate.name: (max(rises[gate.name] - inner[gate.name], rises[gate.name] * 0.1, 1e-12),) for gate in gates}


def _inside(space: Space, gate: Dim) -> list[Dim]:
    return [dim for dim in space.dims if gate.name in dim.needs and not dim.is_gate]


def _macs_share(space: Space, dim: Dim, costs: Costs) -> float:
    """Return how much of the full MACs goes when this dim alone falls to its floor."""
    whole = costs.macs(space.full)
    less = costs.macs(space.check(space.full.with_choice(dim.name, dim.choices[0])))
    return (whole - less) / max(1, whole)


def build_growth_order(space: Space, worths: Mapping[str, tuple[float, ...]], price: Price) -> GrowthOrder:
    """Return the one total order: at each turn the step of highest worth for the price it adds.

    A block competes with the better of two offers: its bare step, or the step with all channels inside it. Ties go to
    the dim whose name comes first, so equal inputs give equal orders.

    Args:
        space: The dims.
        worths: Dim name -> worth of each growth step.
        price: What a spec takes up; less than 1 more counts as 1.
    """
    index = {dim.name: i for i, dim in enumerate(space.dims)}
    steps = list(free_steps(space))
    level = {dim.name: len(dim.choices) - 1 if costs_nothing(dim) else 0 for dim in space.dims}
    spec = SubnetSpec.of({dim.name: dim.choices[level[dim.name]] for dim in space.dims})
    while True:
        now = price(spec)
        offers = []
        for dim in space.dims:
            if level[dim.name] + 1 >= len(dim.choices) or any(level[need] == 0 for need in dim.needs):
                continue
            grown = spec.with_choice(dim.name, dim.choices[level[dim.name] + 1])
            worth = worths[dim.name][level[dim.name]]
            density = worth / max(1, price(grown) - now)
            if dim.is_gate:
                density = max(density, _whole_block(space, dim, grown, worths, price))
            offers.append((-density, dim.name, grown))
        if not offers:
            return GrowthOrder(space, tuple(steps))
        _, name, spec = min(offers, key=lambda offer: offer[:2])
        level[name] += 1
        steps.append(index[name])


def _whole_block(
    space: Space, gate: Dim, grown: SubnetSpec, worths: Mapping[str, tuple[float, ...]], price: Price
) -> float:
    """Return worth per price of a block taken with all channels inside it."""
    inside = _inside(space, gate)
    whole = SubnetSpec.of({**dict(grown.choices), **{dim.name: dim.original for dim in inside}})
    worth = sum(worths[gate.name]) + sum(sum(worths[dim.name]) for dim in inside)
    skipped = price(grown.with_choice(gate.name, 0))
    return worth / max(1, price(whole) - skipped)
