"""Generation with networks that keep a cache, and with those that do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import concertina as ct
from concertina.errors import InputError

SMALL = "zoo:tiny-decoder@context=8,width=16,depth=2,heads=2,inner=16"


class Successor(nn.Module):
    """Foretells the next number, for sure; it has no cache."""

    def __init__(self) -> None:
        super().__init__()
        self.sure = nn.Parameter(torch.ones(1))

    def forward(self, ids: Tensor) -> Tensor:
        return 9 * self.sure * nn.functional.one_hot((ids + 1) % 10, 10)


def test_a_network_without_a_cache_is_given_the_whole_text() -> None:
    module = Successor().eval()
    assert ct.generate(module, torch.tensor([3, 7]), 4).tolist() == [3, 7, 8, 9, 0, 1]
    assert ct.generate(module, torch.tensor([[3], [5]]), 2).tolist() == [[3, 4, 5], [5, 6, 7]]
    assert ct.generate(module, torch.tensor([3]), 0).tolist() == [3]


def test_draws_follow_the_seed_and_a_low_temperature_is_nearly_the_likeliest() -> None:
    module, ids = ct.load(SMALL, weights="random").module, torch.tensor([65, 66])
    free = [ct.generate(module, ids, 30, temperature=1.0, seed=seed).tolist() for seed in (0, 0, 1)]
    assert free[0] == free[1] != free[2]
    greedy = ct.generate(module, ids, 30)
    assert torch.equal(ct.generate(module, ids, 30, temperature=1e-6, seed=5), greedy)


IDS = torch.tensor([1, 2])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((IDS.float(), 1), "ids to go on from: got torch.float32"),
        ((IDS[:0], 1), r"ids to go on from: got torch.int64 of shape \(0,\)"),
        (([1, 2], 1), "ids to go on from: got list"),
        ((IDS - 2, 1), "Leave padding out"),
        ((IDS, -1), "num_tokens: got -1"),
        ((IDS, 2.5), "num_tokens: got 2.5"),
        ((IDS, 1, -0.5), "temperature: got -0.5"),
        ((IDS, 1, float("nan")), "temperature: got nan"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: tuple, words: str) -> None:
    ids, num_tokens, *temperature = arguments
    with pytest.raises(InputError, match=words):
        ct.generate(Successor().eval(), ids, num_tokens, temperature=temperature[0] if temperature else 0.0)


def test_modules_that_cannot_generate_are_refused() -> None:
    with pytest.raises(InputError, match=r"train mode. Call .eval"):
        ct.generate(Successor(), IDS, 1)
    with pytest.raises(InputError, match="outputs of a language network"):
        ct.generate(nn.EmbeddingBag(5, 5).eval(), IDS, 1)
