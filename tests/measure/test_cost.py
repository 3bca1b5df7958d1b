"""Costs by formula equal torch's flop counter on networks that were really built smaller."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from concertina.errors import AnalysisError, SpecError
from concertina.measure.cost import CostModel
from concertina.types import Dim, Member, Space, SubnetSpec


def counted(net: nn.Module, *inputs: Tensor) -> int:
    with torch.no_grad(), sdpa_kernel([SDPBackend.MATH]), FlopCounterMode(display=False) as counter:
        net.eval()(*inputs)
    return counter.get_total_flops() // 2


def width(name: str, units: int, *members: Member, needs: tuple[str, ...] = ()) -> Dim:
    return Dim(f"width:{name}", "width", name, tuple(range(1, units + 1)), members, needs=needs)


def makes(*names: str, positions: int = 1) -> tuple[Member, ...]:
    return tuple(Member(f"{n}.{part}", 0, "out", positions) for n in names for part in ("weight", "bias"))


def norm(name: str) -> tuple[Member, ...]:
    return tuple(Member(f"{name}.{part}", 0, "norm") for part in ("weight", "bias", "running_mean", "running_var"))


def gate(net: nn.Module, path: str) -> Dim:
    tensors = dict(net.named_parameters()) | dict(net.named_buffers())
    inside = [n for n in tensors if n.startswith(f"{path}.") and not n.endswith("num_batches_tracked")]
    return Dim(f"depth:{path}", "depth", path, (0, 1), tuple(Member(n, -1, "gate") for n in inside))


class Residual(nn.Module):
    def __init__(self, channels: int, inner: int, present: bool) -> None:
        super().__init__()
        self.present = present
        if present:
            self.conv1 = nn.Conv2d(channels, inner, 3, padding=1)
            self.conv2 = nn.Conv2d(inner, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x))) if self.present else x


class Conv(nn.Module):
    """Strides, depthwise, grouped, squeeze-excite, transposed, a residual block and a flattened classifier."""

    def __init__(self, a: int = 6, b: int = 4, inner: int = 5, block: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, a, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(a)
        self.depthwise = nn.Conv2d(a, a, 3, padding=1, groups=a)
        self.squeeze = nn.Linear(a, 3)
        self.excite = nn.Linear(3, a)
        self.block = Residual(a, inner, bool(block))
        self.up = nn.ConvTranspose2d(a, 2 * b, 2, stride=2)
        self.grouped = nn.Conv2d(2 * b, 3 * b, 1, groups=b)
        self.head = nn.Linear(3 * b * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(F.relu(self.norm(self.stem(x))))
        x = x * torch.sigmoid(self.excite(self.squeeze(x.mean((2, 3)))))[:, :, None, None]
        return self.head(self.grouped(self.up(self.block(x))).flatten(1))

    def space(self) -> Space:
        a = (
            *makes("stem", "excite"),
            *norm("norm"),
            Member("depthwise.weight", 0, "depthwise"),
            Member("depthwise.bias", 0, "depthwise"),
            Member("squeeze.weight", 1, "in"),
            Member("up.weight", 0, "in"),
            Member("block.conv1.weight", 1, "in"),
            *makes("block.conv2"),
        )
        b = (
            Member("up.weight", 1, "out", 2),
            Member("up.bias", 0, "out", 2),
            *makes("grouped", positions=3),
            Member("head.weight", 1, "in", 3 * 64),
        )
        inner = (*makes("block.conv1"), Member("block.conv2.weight", 1, "in"))
        dims = [width("a", 6, *a), width("b", 4, *b), width("inner", 5, *inner, needs=("depth:block",))]
        return Space((*dims, gate(self, "block")))

    def smaller(self, spec: SubnetSpec) -> nn.Module:
        return Conv(spec["width:a"], spec["width:b"], spec["width:inner"], spec["depth:block"])

    inputs = (torch.zeros(2, 2, 8, 8),)


class Attend(nn.Module):
    """Attention four ways: fused, by matmul, by einsum, by bmm with grouped queries and a table per distance."""

    def __init__(self, style: str, heads: int = 3, inner: int = 4, stream: int = 6) -> None:
        super().__init__()
        self.style, self.size, self.stream = style, 2, stream
        self.embed = nn.Embedding(11, stream)
        self.place = nn.Parameter(torch.zeros(1, 5, stream))
        self.gate = nn.Linear(stream, inner)
        self.value = nn.Linear(stream, inner)
        self.down = nn.Linear(inner, stream)
        self.q = nn.Linear(stream, heads * 2 * self.size)
        self.k = nn.Linear(stream, heads * self.size)
        self.v = nn.Linear(stream, heads * self.size)
        self.table = nn.Parameter(torch.zeros(5, self.size))
        self.out = nn.Linear(heads * 2 * self.size, stream)
        self.mix = nn.Linear(5, 7)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.place
        x = x + self.down(torch.sigmoid(self.gate(x)) * self.value(x))
        q, k, v = (self.split(layer(x)) for layer in (self.q, self.k, self.v))
        out = self.attend(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), tokens)
        x = x + self.out(out.transpose(1, 2).flatten(2))
        return F.linear(x, self.embed.weight).sum() + self.mix(x.transpose(1, 2)).sum()

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (-1, self.size)).transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tensor) -> Tensor:
        hidden = (tokens == 0)[:, None, None, :]
        if self.style == "fused":
            return F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden)
        if self.style == "einsum":
            scores = torch.einsum("bhqd,bhkd->bhqk", q, k)
            return torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v)
        if self.style == "bmm":
            flat = [t.flatten(0, 1) for t in (q, k, v)]
            scores = torch.baddbmm(torch.zeros(1, 1, 1), flat[0], flat[1].transpose(1, 2))
            return torch.bmm(scores.softmax(-1), flat[2]).unflatten(0, q.shape[:2])
        scores = q @ k.transpose(2, 3) + q @ self.table.T
        return scores.masked_fill(hidden, -9.0).softmax(-1) @ v

    def space(self) -> Space:
        heads = (*makes("q", positions=4), *makes("k", "v", positions=2), Member("out.weight", 1, "in", 4))
        inner = (*makes("gate", "value"), Member("down.weight", 1, "in"))
        readers = [Member(f"{n}.weight", 1, "in") for n in ("q", "k", "v", "gate", "value")]
        embedded = (Member("embed.weight", 1, "out"), Member("place", 2, "out"))
        stream = (*embedded, *makes("down", "out"), *readers)
        return Space((width("heads", 3, *heads), width("inner", 4, *inner), width("stream", 6, *stream)))

    def smaller(self, spec: SubnetSpec) -> nn.Module:
        return Attend(self.style, spec["width:heads"], spec["width:inner"], spec["width:stream"])

    inputs = (torch.arange(10).reshape(2, 5),)


class Chain(nn.Module):
    """One width on both sides of a weight: its cost grows with the square."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.first, self.second, self.head = (
            nn.Linear(3, channels),
            nn.Linear(channels, channels),
            nn.Linear(channels, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(x + self.second(x))

    def space(self) -> Space:
        reads = (Member("second.weight", 1, "in"), Member("head.weight", 1, "in"))
        return Space((width("all", 6, *makes("first", "second"), *reads),))

    def smaller(self, spec: SubnetSpec) -> nn.Module:
        return Chain(spec["width:all"])

    inputs = (torch.zeros(4, 3),)


NETS = [Conv(), Chain(), *(Attend(style) for style in ("fused", "matmul", "einsum", "bmm"))]
each_net = pytest.mark.parametrize("net", NETS, ids=lambda net: f"{type(net).__name__}-{getattr(net, 'style', '')}")


def specs(space: Space, number: int) -> list[SubnetSpec]:
    chance = random.Random(7)
    drawn = [{dim.name: chance.choice(dim.choices) for dim in space.dims} for _ in range(number)]
    return [space.full, space.smallest, *(space.check(SubnetSpec.of(choices)) for choices in drawn)]


@each_net
def test_macs_equal_the_flop_counter_on_networks_built_smaller(net: nn.Module) -> None:
    space = net.space()
    costs = CostModel.of(net, net.inputs, space)
    one = [x[:1] for x in net.inputs]
    for spec in specs(space, 12):
        assert costs.macs(spec) == counted(net.smaller(spec), *one), spec.text
    assert costs.full() == costs.macs(space.full)


@each_net
def test_parameters_and_bytes_equal_those_of_networks_built_smaller(net: nn.Module) -> None:
    space = net.space()
    costs = CostModel.of(net, net.inputs, space)
    for spec in specs(space, 12):
        small = net.smaller(spec)
        tensors = dict(small.named_parameters()) | dict(small.named_buffers())
        stored = [t for name, t in tensors.items() if "num_batches_tracked" not in name]
        assert costs.params(spec) == sum(p.numel() for p in small.parameters()), spec.text
        assert costs.size_bytes(spec) == sum(t.numel() * t.element_size() for t in stored), spec.text


@each_net
def test_costs_fall_or_stay_as_a_dim_shrinks(net: nn.Module) -> None:
    space = net.space()
    costs = CostModel.of(net, net.inputs, space)
    for dim, spec in itertools.product(space.dims, specs(space, 4)):
        for cost in (costs.macs, costs.params, costs.size_bytes):
            ladder = [cost(space.check(spec.with_choice(dim.name, choice))) for choice in dim.choices]
            assert ladder == sorted(ladder)


def test_a_skipped_block_costs_nothing_whatever_stands_inside_it() -> None:
    net = Conv()
    costs = CostModel.of(net, net.inputs, net.space())
    skipped = dict(net.space().full.choices) | {"depth:block": 0}
    assert costs.macs(skipped) == costs.macs({**skipped, "width:inner": 1}) < costs.full()
    assert costs.params(skipped) == costs.params({**skipped, "width:inner": 1})


def test_tying_counts_a_tensor_once() -> None:
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    net[2].weight = net[0].weight
    costs = CostModel.of(net, (torch.zeros(2, 4),), Space(()))
    spec = SubnetSpec.of({})
    assert (costs.macs(spec), costs.params(spec), costs.size_bytes(spec)) == (32, 16, 64)


def test_products_of_weights_alone_are_done_once_for_a_whole_batch() -> None:
    class Merged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Parameter(torch.ones(5, 2)), nn.Parameter(torch.ones(2, 3))

        def forward(self, x: Tensor) -> Tensor:
            if len(x) == 1:
                raise ValueError("one is too few")
            return F.linear(x, self.up @ self.down)

    costs = CostModel.of(Merged(), (torch.zeros(4, 3),), Space(()))
    assert costs.full() == 5 * 2 * 3 + 5 * 3


def test_torch_multihead_attention_is_counted_in_full() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    before = torch.backends.mha.get_fastpath_enabled()
    tokens, width_ = 5, 8
    costs = CostModel.of(layer, (torch.zeros(2, tokens, width_),), Space(()))
    linear = tokens * (4 * width_ * width_ + 2 * width_ * 16)
    assert costs.full() == linear + 2 * tokens * tokens * width_
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_the_network_is_left_as_it_was() -> None:
    net = Conv()
    net.train()
    net.norm.eval()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    CostModel.of(net, net.inputs, net.space())
    assert net.training
    assert not net.norm.training
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_a_spec_without_one_of_the_dims_is_refused() -> None:
    costs = CostModel.of(Chain(), Chain.inputs, Chain().space())
    with pytest.raises(SpecError, match="leaves out dims: got width:all"):
        costs.macs(SubnetSpec.of({}))


@pytest.mark.parametrize(
    ("dim", "words"),
    [
        (width("x", 6, Member("third.weight", 0, "out")), "a tensor that the network lacks: got third.weight"),
        (width("x", 5, Member("first.weight", 0, "out")), r"does not fit side 0 of 'first.weight', of shape \(6, 3\)"),
        (width("x", 6, Member("first.bias", 1, "in")), "does not fit side 1 of 'first.bias'"),
        (Dim("depth:b", "depth", "b", (0, 1), (Member("first.bias", -1, "gate"),)), "a block that the network lacks"),
    ],
)
def test_a_space_of_another_network_is_refused(dim: Dim, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        CostModel.of(Chain(), Chain.inputs, Space((dim,)))


def test_inputs_that_the_network_refuses_are_named() -> None:
    with pytest.raises(AnalysisError, match="does not run on its example inputs"):
        CostModel.of(Chain(), (torch.zeros(2, 5),), Chain().space())
