"""The comparison of an exported file with its subnet can fail, in every way it should."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from concertina.errors import ExportError
from concertina.export import check

NET = nn.Linear(3, 4).eval()
EXAMPLE = (torch.randn(2, 3, generator=torch.Generator().manual_seed(0)),)


def changed(change: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """Return a program that does what the net does, then something else."""

    def program(*inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return (change(NET(*inputs)),)

    return program


def test_equal_outputs_agree_on_made_up_and_real_inputs() -> None:
    data = (torch.randn(1500, 3, generator=torch.Generator().manual_seed(1)),)
    found = check(changed(lambda y: y), NET, EXAMPLE, what="x", data=data, top1=True)
    assert found.max_relative_error == 0.0
    assert (found.num_inputs, found.num_real, found.top1) == (1008, 1000, True)
    assert found.batches == (1, 2, 5, 40, 64)


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y * 1.001,
        lambda y: y + 1e-2,
        lambda y: torch.full_like(y, float("nan")),
        lambda y: torch.full_like(y, float("inf")),
        lambda y: y[:, :3],
        lambda y: y.flip(0) if len(y) == 5 else y,
    ],
    ids=["scaled", "shifted", "nan", "inf", "narrower", "another order at batch 5"],
)
def test_anything_else_is_caught(change: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ExportError, match="x does not compute what the subnet does: got a relative error of"):
        check(changed(change), NET, EXAMPLE, what="x")


def test_an_output_too_few_is_caught() -> None:
    with pytest.raises(ExportError, match="relative error of inf"):
        check(lambda *_: (), NET, EXAMPLE, what="x")


def test_another_first_choice_is_caught_however_close() -> None:
    data = (torch.zeros(7, 3),)
    near = nn.Linear(3, 2).eval()
    with torch.no_grad():
        near.weight.zero_()
        near.bias.copy_(torch.tensor([1.0, 1.00001]))

    def program(*inputs: Tensor) -> tuple[Tensor, ...]:
        return (near(*inputs).detach().flip(-1),)

    assert check(program, near, EXAMPLE, what="x", data=data).max_relative_error < 1e-4
    with pytest.raises(ExportError, match="another first choice than the subnet: got 7 of 7 real inputs"):
        check(program, near, EXAMPLE, what="x", data=data, top1=True)


def test_whole_numbers_are_drawn_from_the_examples() -> None:
    net = nn.Embedding(5, 2).eval()
    seen: list[Tensor] = []

    def program(ids: Tensor) -> tuple[Tensor, ...]:
        seen.append(ids)
        return (net(ids).detach(),)

    assert check(program, net, (torch.tensor([[1, 4], [2, 3]]),), what="x").max_relative_error == 0.0
    assert {tuple(row) for ids in seen for row in ids.tolist()} <= {(1, 4), (2, 3)}
