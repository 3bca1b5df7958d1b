"""The control of a group: every member must be felt, however faintly, and no stranger may pass for one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.analyse.networks import IMAGES, SOUND, TOKENS, SqueezeExcite, core_of
from torch import Tensor, nn
from torch.nn import functional as F

import concertina as ct
from concertina.analyse import analyse
from concertina.analyse.attention import find_heads
from concertina.analyse.groups import head_group
from concertina.analyse.probe import Probe
from concertina.analyse.sensitivity import slopes_of
from concertina.analyse.verify import verify_group
from concertina.types import Group, Member


def test_slopes_are_what_small_changes_do_running_statistics_included() -> None:
    torch.manual_seed(0)
    probe = Probe.of(core_of(SqueezeExcite(), *IMAGES))
    factors = torch.randn(probe.outputs.shape, dtype=torch.float64)
    slopes = slopes_of(probe.module, probe.inputs, factors)
    assert set(slopes) == set(probe.tensors) - {"norm.num_batches_tracked"}
    for name in ("conv1.weight", "norm.running_var", "norm.running_mean", "norm.weight", "excite.bias"):
        step = 1e-6 * torch.randn(probe.tensors[name].shape, dtype=torch.float64)
        _, there = probe.disturbed({name: probe.tensors[name] + step})
        _, back = probe.disturbed({name: probe.tensors[name] - step})
        assert there is not None
        assert back is not None
        expected = float(((there - back) * factors).sum()) / 2
        assert float((slopes[name] * step).sum()) == pytest.approx(expected, rel=1e-4)


def test_a_network_without_derivatives_has_no_slopes() -> None:
    class Closed(nn.Linear):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    assert slopes_of(Closed(3, 2), (torch.ones(1, 3),), torch.ones(1, 2)) == {}


@pytest.mark.parametrize("name", ["grouped", "squeeze-excite", "layer scale", "fused attention"])
def test_without_slopes_the_same_is_found_by_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    make, shape = SOUND[name]
    core = core_of(make(), *shape)
    expected = analyse(core, cache=False)
    monkeypatch.setattr("concertina.analyse.probe.slopes_of", lambda *_: {})
    assert analyse(core, cache=False) == expected


class Faint(nn.Module):
    """A hidden layer and a scale that has next to no effect on anything."""

    def __init__(self, effect: float) -> None:
        super().__init__()
        self.up, self.down, self.effect = nn.Linear(12, 16), nn.Linear(16, 5), effect
        self.stranger = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        places = torch.linspace(0, 1, 16).to(x)
        return (self.down(F.gelu(self.up(x))) + self.effect * (self.stranger * places).sum()).mean(1)


@pytest.mark.parametrize("effect", [1e-6, 1e-8, 1e-12, 0.0])
def test_a_stranger_that_is_hardly_felt_is_caught(effect: float) -> None:
    torch.manual_seed(0)
    core = core_of(Faint(effect), *TOKENS)
    hidden = next(group for group in analyse(core).groups if group.name == "up")
    assert hidden.elastic
    merged = replace(hidden, members=(*hidden.members, Member("stranger", 0, "norm")))
    why = "control: 'stranger' makes no difference, so it may not belong to the group"
    assert verify_group(Probe.of(core), merged).group.rigid == why


class PostNorm(nn.Module):
    """Attention and a hidden layer, each normalised after its sum, as in BERT."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.num_heads = 4
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        split = (linear(x).unflatten(-1, (-1, 6)).transpose(1, 2) for linear in (self.query, self.key, self.value))
        x = self.norm1(x + self.out(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Deep(nn.Sequential):
    """A text network of many layers that answers by its first token."""

    def __init__(self, depth: int) -> None:
        super().__init__(nn.Linear(12, 24), *(PostNorm() for _ in range(depth)), nn.Linear(24, 3))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 0]


@pytest.mark.parametrize("depth", [12, 24])
def test_heads_of_the_last_layer_of_a_deep_network_are_heard_out(depth: int) -> None:
    torch.manual_seed(0)
    probe = Probe.of(core_of(Deep(depth), 2, 8, 12))
    found = head_group(probe.wiring, find_heads(probe.module)[-1:], 4)
    assert found is not None
    assert found.name == str(depth)
    assert verify_group(probe, found).group.rigid == ""
    queries = f"{depth}.query.weight"
    without = replace(found, members=tuple(m for m in found.members if m.tensor != queries))
    assert verify_group(probe, without).group.rigid


class Fussy(nn.Module):
    """Two hidden layers, of which one must keep its width in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(12, 8), nn.Linear(8, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        if self.training and x.shape[-1] < 8:
            raise ValueError("too narrow to train")
        return self.c(F.relu(self.b(x))).mean(1)


def test_one_group_that_breaks_training_is_told_from_those_cut_with_it() -> None:
    groups: dict[str, Group] = {group.name: group for group in analyse(core_of(Fussy(), *TOKENS)).groups}
    assert groups["a"].rigid == "slice: with 4 of its 8 units the network fails in train mode"
    assert groups["b"].elastic


class Inverted(nn.Module):
    """Inverted residual blocks, most of them on maps of one pixel, where a batch of two hardly varies."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 24, 1, bias=False),
                nn.BatchNorm2d(24),
                nn.ReLU6(),
                nn.Conv2d(24, 24, 3, stride=2 if i < 2 else 1, padding=1, groups=24, bias=False),
                nn.BatchNorm2d(24),
                nn.ReLU6(),
                nn.Conv2d(24, 8, 1, bias=False),
                nn.BatchNorm2d(8),
            )
            for i in range(depth)
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = x + block(x) if i >= 2 and i % 2 else block(x)
        return self.head(x.mean((2, 3)))


def test_many_norms_over_few_values_do_not_make_rounding_large() -> None:
    torch.manual_seed(0)
    graph = analyse(ct.load(Inverted(12).eval(), torch.randn(2, 3, 16, 16)))
    assert [(group.name, group.rigid) for group in graph.groups if group.rigid and group.name != "head"] == []
