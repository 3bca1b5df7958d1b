"""torch's own attention: put in a form that computes the same, and elastic in heads and width from fit to file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import concertina as ct
from concertina.analyse.split_attention import SplitAttention, with_split_attention


class Net(nn.Module):
    """Tokens through torch's own encoder."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


def core(**options: Any) -> ct.Core:
    torch.manual_seed(0)
    return ct.load(Net(**options), torch.randn(2, 6, 8))


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 6, 8, generator=generator)
    return TensorDataset(x, x.sum((1, 2)).gt(0).long() + 2 * x[:, 0, 0].gt(0).long())


CALLS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"batch_first": True}, {"need_weights": False}),
    ({"bias": False}, {"average_attn_weights": False}),
    ({"kdim": 6, "vdim": 10}, {"key_padding_mask": torch.tensor([[False, False, True], [False, True, True]])}),
    ({"batch_first": True}, {"attn_mask": torch.ones(4, 3).tril().bool().logical_not(), "need_weights": False}),
    ({}, {"attn_mask": torch.randn(4, 3), "key_padding_mask": torch.tensor([[0.0, 0.0, -9.0], [0.0, -1.0, 0.0]])}),
]


@pytest.mark.parametrize(("options", "call"), CALLS)
@pytest.mark.parametrize("batched", [True, False])
def test_the_other_form_computes_the_same(options: dict[str, Any], call: dict[str, Any], batched: bool) -> None:
    from concertina.analyse.split_attention import _filled

    torch.manual_seed(1)
    attention = nn.MultiheadAttention(12, 3, **options).eval()
    shapes = [(4, 12), (3, options.get("kdim", 12)), (3, options.get("vdim", 12))]
    at = 0 if options.get("batch_first") else 1
    inputs = [torch.randn(shape).unsqueeze(at).repeat_interleave(2, at) + torch.randn(()) for shape in shapes]
    if not batched:
        inputs = [x.select(at, 0) for x in inputs]
        call = call | ({"key_padding_mask": call["key_padding_mask"][0]} if "key_padding_mask" in call else {})
    (wanted, weights), (ours, our_weights) = (layer(*inputs, **call) for layer in (attention, _filled(attention)))
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
    assert (weights is None) == (our_weights is None)
    if weights is not None:
        torch.testing.assert_close(our_weights, weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
def test_heads_stream_and_feed_forward_are_elastic(norm_first: bool, tmp_path: Path) -> None:
    given = core(norm_first=norm_first)
    family = ct.fit(given, data(), data(), points=(0.2, 0.5), epochs=1, batch_size=16)
    dims = {dim.name: dim for dim in family.supernet.space.dims}
    assert dims["width:encoder.layers.0.self_attn"].original == 4
    assert {"width:embed", "width:encoder.layers.1.linear1", "depth:encoder.layers.1"} <= set(dims)
    assert family.core.fingerprint == given.fingerprint
    family.save(tmp_path / "own.concertina")
    again = ct.open(tmp_path / "own.concertina", module=Net(norm_first=norm_first))
    x = torch.randn(3, 6, 8)
    for point in family.points:
        assert torch.equal(again.at(point=point.name)(x), family.at(point=point.name)(x))


def test_before_training_the_full_point_is_the_core() -> None:
    given = core()
    family = ct.fit(given, data(), points=(0.5,), epochs=0)
    x = torch.randn(3, 6, 8)
    torch.testing.assert_close(family.at(1.0)(x), given.module(x), rtol=1e-4, atol=1e-5)


def test_what_the_user_names_keeps_its_form() -> None:
    kept = "encoder.layers.0.self_attn"
    found = with_split_attention(core(), leave=[kept])
    assert set(found.rewritten) == {"encoder.layers.1.self_attn"}
    assert not with_split_attention(core(), leave=["encoder"]).rewritten
    assert not with_split_attention(ct.load("zoo:mlp")).rewritten


def test_attention_with_keys_of_its_own_keeps_its_form() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(12, 3, add_bias_kv=True, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            mixed: Tensor = self.attention(x, x, x)[0]
            return mixed.mean(1)

    assert not with_split_attention(ct.load(Odd(), torch.randn(2, 4, 12))).rewritten


def test_a_network_that_asks_for_the_class_keeps_it() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.MultiheadAttention(12, 3, batch_first=True)
            self.second = nn.MultiheadAttention(12, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            if not isinstance(self.second, nn.MultiheadAttention):
                raise TypeError("another attention")
            mixed: Tensor = self.second(*[self.first(x, x, x)[0]] * 3)[0]
            return mixed.mean(1)

    found = with_split_attention(ct.load(Asks(), torch.randn(2, 4, 12)))
    assert set(found.rewritten) == {"first"}
    assert isinstance(found.module.get_submodule("first"), SplitAttention)


def test_a_mask_for_each_head_is_refused() -> None:
    attention = SplitAttention(nn.MultiheadAttention(12, 3))
    x = torch.randn(4, 2, 12)
    with pytest.raises(NotImplementedError, match="a mask for each head"):
        attention(x, x, x, attn_mask=torch.zeros(6, 4, 4))
