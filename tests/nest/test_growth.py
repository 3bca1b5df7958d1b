"""The growth order: one total order, every prefix a network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concertina.axes.base import chunk_choices
from concertina.errors import SpecError
from concertina.nest import build_growth_order
from concertina.types import Dim, GrowthOrder, Member, Space, SubnetSpec


class LinearCosts:
    """Costs that add up over dims; a dim inside a skipped block costs nothing."""

    def __init__(self, space: Space, per_unit: dict[str, int]) -> None:
        self.space, self.per_unit = space, per_unit

    def macs(self, spec: SubnetSpec) -> int:
        return sum(
            self.per_unit[dim.name] * spec[dim.name]
            for dim in self.space.dims
            if all(spec[need] > 0 for need in dim.needs)
        )

    params = size_bytes = macs


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    dims = []
    for b in range(draw(st.integers(0, 3))):
        dims.append(Dim(f"depth:b{b}", "depth", f"b{b}", (0, 1), (Member(f"b{b}.w", -1, "gate"),)))
        needs = (f"depth:b{b}",)
        dims.append(_width(f"b{b}.w", draw(st.integers(2, 40)), needs))
    dims += [_width(f"w{i}", draw(st.integers(2, 40)), ()) for i in range(draw(st.integers(1, 4)))]
    return Space(tuple(dims))


def _width(name: str, units: int, needs: tuple[str, ...]) -> Dim:
    return Dim(f"width:{name}", "width", name, chunk_choices(units), (Member(name, 0, "out"),), needs=needs)


@st.composite
def orders(draw: st.DrawFn) -> tuple[Space, dict[str, tuple[float, ...]], LinearCosts]:
    space = draw(spaces())
    worth = st.floats(1e-6, 1e3)
    worths = {d.name: tuple(draw(worth) for _ in d.choices[1:]) for d in space.dims}
    costs = LinearCosts(space, {d.name: draw(st.integers(1, 1000)) for d in space.dims})
    return space, worths, costs


@given(orders())
def test_every_prefix_is_a_network_and_each_step_adds_one_choice(case: tuple) -> None:
    space, worths, costs = case
    order = build_growth_order(space, worths, costs.macs)
    assert order.spec(0) == space.smallest
    assert order.spec(len(order)) == space.full
    for position in range(len(order)):
        before, after = order.spec(position), order.spec(position + 1)
        assert space.check(after) == after
        assert sum(before[d.name] != after[d.name] for d in space.dims) == 1
        assert space.covers(after, before)
        assert costs.macs(after) >= costs.macs(before)


@given(orders())
def test_equal_inputs_give_equal_orders(case: tuple) -> None:
    space, worths, costs = case
    assert build_growth_order(space, worths, costs.macs) == build_growth_order(
        space, dict(reversed(worths.items())), costs.macs
    )


def test_the_step_of_highest_worth_per_mac_comes_first() -> None:
    space = Space((_width("a", 3, ()), _width("b", 3, ())))
    costs = LinearCosts(space, {"width:a": 10, "width:b": 1})
    worths = {"width:a": (50.0, 20.0), "width:b": (4.0, 3.0)}
    order = build_growth_order(space, worths, costs.macs)
    assert [space.dims[i].target for i in order.steps] == ["a", "b", "b", "a"]


def test_a_block_comes_when_it_is_worth_it_as_a_whole() -> None:
    gate = Dim("depth:x", "depth", "x", (0, 1), (Member("x.w", -1, "gate"),))
    space = Space((gate, _width("x.w", 4, ("depth:x",)), _width("y", 2, ())))
    costs = LinearCosts(space, {"depth:x": 10, "width:x.w": 1, "width:y": 10})
    worths = {"depth:x": (1.0,), "width:x.w": (30.0, 30.0, 30.0), "width:y": (15.0,)}
    order = build_growth_order(space, worths, costs.macs)
    assert space.dims[order.steps[0]].name == "depth:x"


@pytest.mark.parametrize("steps", [(0,), (0, 0, 0), (5,), (-1, 0)])
def test_a_growth_order_that_is_none_is_refused(steps: tuple[int, ...]) -> None:
    space = Space((_width("a", 3, ()),))
    with pytest.raises(SpecError, match="growth order"):
        GrowthOrder(space, steps)


@given(st.integers(1, 5000))
def test_width_choices_follow_the_rule_of_the_design(units: int) -> None:
    choices = chunk_choices(units)
    chunk = min(8, max(1, units // 8))
    assert choices[-1] == units
    assert all(choice % chunk == 0 for choice in choices[:-1])
    assert all(b - a <= chunk for a, b in zip((0, *choices), choices, strict=False))
