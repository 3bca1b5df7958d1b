"""Evaluation leaves no trace, does not depend on the batches, and names what it cannot use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from concertina.errors import DataError
from concertina.measure.quality import evaluate, paired_difference, paired_ratio
from concertina.objective.base import Metric, Task
from concertina.types import Record


class Signs(Task):
    """Tells positive numbers from others."""

    name = "signs"
    metric = Metric("accuracy", "max")

    def inputs(self, batch: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (batch[0],)

    def loss(self, outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
        return outputs.sum()

    def distill(self, outputs: Tensor, teacher: Tensor, batch: Sequence[Tensor]) -> Tensor:
        return (outputs - teacher).sum()

    def augment(self, batch: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:
        return tuple(batch)

    def observe(self, outputs: Tensor, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"correct": (outputs[:, 0] > 0) == batch[1]}

    def summarise(self, rows: Mapping[str, Tensor]) -> list[Record]:
        return [Record("", "accuracy", float(rows["correct"].float().mean()), "share", len(rows["correct"]))]

    def check(self, batch: Sequence[Tensor]) -> None:
        if len(batch) != 2:
            raise DataError("batch", asked=f"{len(batch)} tensors", allowed="2")


def batches(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    x = torch.randn(sum(sizes), 4, generator=torch.Generator().manual_seed(1))
    return list(zip(x.split(sizes), (x.sum(1) > 0).split(sizes), strict=True))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.9), nn.Linear(8, 1))


def test_figures_and_rows_do_not_depend_on_the_size_of_batches() -> None:
    net = network()
    whole = evaluate(net, Signs(), batches(12), spec="core", data="d1")
    parts = evaluate(net, Signs(), batches(1, 7, 4), spec="core", data="d1")
    assert torch.equal(whole.rows["correct"], parts.rows["correct"])
    assert whole.records == parts.records


def test_records_carry_spec_data_and_versions() -> None:
    record = evaluate(network(), Signs(), batches(3), spec="width:a=2", data="d1").records[0]
    assert (record.spec, record.data, record.n) == ("width:a=2", "d1", 3)
    assert "torch" in record.versions


def test_the_network_keeps_its_tensors_and_every_mode() -> None:
    net = network().train()
    net[1].eval()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    evaluate(net, Signs(), batches(5), spec="core", data="")
    assert [part.training for part in net] == [True, False, True, True]
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())


def test_modes_come_back_after_a_refusal() -> None:
    net = network().train()
    with pytest.raises(DataError, match="batch: got 1 tensors; allowed: 2"):
        evaluate(net, Signs(), [(torch.ones(2, 4),)], spec="core", data="")
    assert net.training


def test_rows_are_ordinary_tensors() -> None:
    rows = evaluate(network(), Signs(), batches(2, 2), spec="core", data="").rows
    assert not rows["correct"].is_inference()


def test_no_batch_is_refused() -> None:
    with pytest.raises(DataError, match="no batch"):
        evaluate(network(), Signs(), [], spec="core", data="")


def test_answers_that_are_no_numbers_are_refused_with_their_batch() -> None:
    net = network()
    with torch.no_grad():
        net[3].weight.fill_(torch.nan)
    with pytest.raises(DataError, match="on batch 0 are NaN"):
        evaluate(net, Signs(), batches(2, 2), spec="core", data="")


def test_a_paired_difference_counts_only_where_two_networks_differ() -> None:
    a = torch.tensor([True] * 90 + [False] * 10)
    b = torch.tensor([True] * 80 + [False] * 20)
    difference, low, high = paired_difference(a, b)
    assert difference == pytest.approx(0.1)
    assert 0 < low < 0.1 < high
    unpaired_half_width = 1.96 * (0.9 * 0.1 / 100 + 0.8 * 0.2 / 100) ** 0.5
    assert (high - low) / 2 < unpaired_half_width


def test_equal_answers_differ_by_nothing_within_an_interval() -> None:
    same = torch.ones(50)
    difference, low, high = paired_difference(same, same)
    assert difference == 0
    assert low == pytest.approx(-high)
    assert 0 < high < 0.1


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (torch.ones(2), torch.ones(3), r"shapes \(2,\) and \(3,\)"),
        (torch.ones(0), torch.ones(0), "of one unit or more"),
        (torch.tensor([0.5]), torch.ones(1), "other values; allowed: 0 and 1"),
    ],
)
def test_rows_that_do_not_pair_are_refused(a: Tensor, b: Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        paired_difference(a, b)


def test_the_interval_of_paired_ratios_holds_the_truth_as_often_as_it_says() -> None:
    chance = torch.Generator().manual_seed(0)
    held, n, truth = [], 150, 0.2
    for _ in range(800):
        counts = torch.randint(1, 9, (n,), generator=chance)  # spans of a text: they go right or wrong together
        luck = torch.rand(n, generator=chance)
        one, other = counts * (luck < 0.7), counts * (luck < 0.5)
        difference, low, high = paired_ratio(one, counts, other, counts)
        assert low <= difference <= high
        held.append(low <= truth <= high)
    assert 0.92 <= sum(held) / len(held) <= 0.98


def test_paired_ratios_of_nothing_are_refused() -> None:
    ones, none = torch.ones(3), torch.zeros(3)
    assert paired_ratio(ones, ones, ones, ones) == (0.0, 0.0, 0.0)
    with pytest.raises(DataError, match="nothing below the line"):
        paired_ratio(ones, ones, ones, none)
    with pytest.raises(DataError, match="shapes"):
        paired_ratio(ones, ones, ones, ones[:2])
