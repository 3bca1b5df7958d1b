"""Operating points: what may be asked for, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import concertina as ct
from concertina.errors import BudgetError, InputError, SpecError
from concertina.nest import Supernet, choose_points
from concertina.nest.supernet import check_shares, point_name
from concertina.types import Dim, GrowthOrder, Member, Space


class Costs:
    """What the widths 1, 2, 3 ... cost."""

    def __init__(self, macs: Sequence[int]) -> None:
        self._macs = macs

    def macs(self, spec: ct.SubnetSpec) -> int:
        return self._macs[spec["width:a"] - 1]

    def params(self, spec: ct.SubnetSpec) -> int:
        return spec["width:a"]

    def size_bytes(self, spec: ct.SubnetSpec) -> int:
        return 4 * spec["width:a"]


def network(*macs: int) -> Supernet:
    """Return a supernet of one dim whose subnets have these MACs."""
    widths = tuple(range(1, len(macs) + 1))
    dim = Dim("width:a", "width", "a", widths, (Member("weight", 0, "out"),))
    order = GrowthOrder(Space((dim,)), (0,) * (len(macs) - 1))
    return Supernet(nn.Linear(2, len(macs)), order, Costs(macs), {})


def names(supernet: Supernet, *shares: float) -> list[str]:
    choose_points(supernet, shares)
    return list(supernet.points)


def test_a_point_is_called_by_the_share_asked_for_while_it_comes_near() -> None:
    assert names(network(10, 43, 60, 100), 0.5, 0.6) == ["p50", "p60", "p100"]
    assert names(network(10, 43, 60, 100), 0.125) == ["p10", "p100"]


def test_a_point_that_falls_short_is_called_by_what_it_reaches(caplog: pytest.LogCaptureFixture) -> None:
    assert names(network(10, 42, 60, 100), 0.5, 0.65) == ["p42", "p65", "p100"]
    assert "no subnet lies between 42.0% and 50% of the MACs: the point asked for as 0.5 is called 'p42'" in caplog.text
    assert "0.65" not in caplog.text


def test_names_are_never_taken_twice() -> None:
    assert names(network(10, 420, 424, 1000), 0.422, 0.9) == ["p42.2", "p42", "p100"]
    assert names(network(10, 419, 424, 1000), 0.42, 0.9) == ["p42", "p42.4", "p100"]


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=40))
def test_new_names_are_new(shares: list[float]) -> None:
    taken: set[str] = set()
    for share in dict.fromkeys(shares):
        name = point_name(share, taken)
        assert name not in taken
        taken.add(name)


@pytest.mark.parametrize("shares", [0.5, "0.5", None, [None], [0.5, 0.5], [0], [1.1], [True], [[0.5]]])
def test_odd_shares_are_refused_by_name(shares: object) -> None:
    with pytest.raises(InputError, match="points: got"):
        check_shares(shares)


def test_two_shares_of_one_subnet_and_shares_below_the_smallest_are_refused() -> None:
    with pytest.raises(SpecError, match=r"two points are the same subnet: got shares 0\.5 and 0\.55\. Drop one"):
        names(network(10, 42, 60, 100), 0.5, 0.55)
    with pytest.raises(BudgetError, match=r"got 0\.05; allowed: 0\.1000 \(smallest subnet\) to 1"):
        names(network(10, 42, 60, 100), 0.05)
