"""Layer-wise relevance propagation: what goes in comes out, by the rules, for any network of known layers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import concertina as ct
from concertina.errors import AnalysisError
from concertina.score.relevance import Balance, Propagation

Rule = Literal["epsilon", "z+"]
RULES: tuple[Rule, ...] = ("epsilon", "z+")
TOLERANCE = 1e-9
"""Relative, in float64."""


class Many(nn.Module):
    """Grouped and depthwise convolutions, pooling of all kinds, joined and padded branches, a product, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.before = nn.BatchNorm2d(8)
        self.activation = nn.GELU()
        self.gate = nn.Linear(8, 8)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.activation(self.stem(x)), 2)
        x = F.relu6(self.before(x + 0.5))
        a, b = self.grouped(x), self.norm(self.depthwise(x))
        x = F.pad(torch.cat([a, 2 * b], 1), (0, 1, 0, 1)) * 0.5
        x = F.adaptive_avg_pool2d(F.silu(x), 1).flatten(1)
        weights = torch.sigmoid(self.gate(x[:, :8]))
        x = torch.cat([x[:, :8] * weights, x[:, 8:] - 0.1], dim=1)
        return self.head(x / x.norm(dim=1, keepdim=True).detach())


def propagated(
    module: nn.Module, inputs: Tensor, rule: Rule = "epsilon"
) -> tuple[Tensor, Tensor, Tensor, list[Balance]]:
    """Return outputs, their relevance, the inputs' relevance, and every call's balance, from each likeliest output."""
    inputs = inputs.clone().requires_grad_()
    with Propagation(module, rule) as propagation:
        outputs = module(inputs)
    start = F.one_hot(outputs.argmax(1), outputs.shape[1]).to(outputs)
    balances = propagation.balances(outputs, start)
    (coefficients,) = torch.autograd.grad(outputs, inputs, start)
    return outputs.detach(), (outputs * start).detach(), (inputs * coefficients).detach(), balances


def assert_conserved(module: nn.Module, inputs: Tensor, rule: Rule) -> None:
    module = module.double().eval()
    outputs, begun, arrived, balances = propagated(module, inputs.double(), rule)
    with torch.no_grad():
        assert torch.allclose(outputs, module(inputs.double()), rtol=1e-10, atol=1e-12)
    for balance in balances:
        gap = abs(balance.received - balance.passed - balance.absorbed)
        assert gap <= TOLERANCE * max(balance.size, 1e-9), f"{balance.function} at {balance.path!r} is off by {gap:.1e}"
    absorbed = sum(balance.absorbed for balance in balances)
    whole = float(begun.sum())
    assert abs(whole - float(arrived.sum()) - absorbed) <= TOLERANCE * max(b.size for b in balances)
    assert any(balance.size > 0 for balance in balances)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("weights", [None, "random"])
@pytest.mark.parametrize("name", ["mlp", "digits-cnn", "tiny-vit"])
def test_relevance_is_conserved_on_the_zoo(name: str, weights: str | None, rule: Rule) -> None:
    core = ct.load(f"zoo:{name}", weights=weights)
    data = ct.open_data("zoo:digits@validation", preprocess=core.preprocess)
    assert_conserved(core.module, data.inputs[:16], rule)


@pytest.mark.parametrize("rule", RULES)
def test_relevance_is_conserved_on_a_random_resnet(rule: Rule) -> None:
    core = ct.load("zoo:cifar-resnet20", weights="random")
    assert_conserved(core.module, torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), rule)


@pytest.mark.real
@pytest.mark.parametrize("rule", RULES)
def test_relevance_is_conserved_on_a_trained_resnet(real_data: Path, rule: Rule) -> None:
    core = ct.load("zoo:cifar-resnet20", weights=real_data / "resnet20-cifar10.safetensors")
    data = ct.open_data(real_data / "cifar10-test.npz@part=calibration", preprocess=core.preprocess)
    assert_conserved(core.module, data.inputs[:8], rule)


@pytest.mark.parametrize("rule", RULES)
def test_relevance_is_conserved_by_every_kind_of_layer(rule: Rule) -> None:
    torch.manual_seed(1)
    module = Many()
    for norm in (module.norm, module.before):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    assert_conserved(module, torch.randn(6, 3, 8, 8), rule)


def test_without_cancelling_the_epsilon_rule_is_gradient_times_input() -> None:
    core = ct.load("zoo:mlp")
    module = core.module.double()
    inputs = torch.randn(8, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    outputs = module(inputs)
    (gradient,) = torch.autograd.grad(outputs.max(1).values.sum(), inputs)
    _, _, arrived, _ = propagated(module, inputs.detach())
    assert torch.allclose(arrived, inputs.detach() * gradient, atol=1e-2)  # epsilon tells where a sum is all but 0


def test_the_z_plus_rule_splits_by_positive_terms() -> None:
    layer = nn.Conv2d(3, 2, 1, bias=False).double()
    inputs = torch.rand(5, 3, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -0.2, 0.5], [-0.1, 2.0, 0.3]], dtype=torch.float64)[..., None, None])
    outputs, _, arrived, _ = propagated(nn.Sequential(layer, nn.Flatten()), inputs, "z+")
    x, weight = inputs.flatten(1), layer.weight.detach().flatten(1).clamp(min=0)
    chosen, value = weight[outputs.argmax(1)], outputs.max(1).values[:, None]
    expected = x * chosen / (x * chosen).sum(1, keepdim=True) * value
    assert torch.allclose(arrived.flatten(1), expected, rtol=1e-4)


def test_a_residual_sum_is_split_in_proportion() -> None:
    class Double(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first = x[:, :1] * 3.0
            return first + x[:, 1:] * 1.0

    inputs = torch.tensor([[2.0, 4.0], [1.0, 1.0]], dtype=torch.float64)
    _, begun, arrived, _ = propagated(Double(), inputs)
    assert begun.flatten().tolist() == [10.0, 4.0]
    assert arrived.tolist() == [[6.0, 4.0], [3.0, 1.0]]


def test_a_batch_norm_is_folded_into_the_convolution_before_it() -> None:
    torch.manual_seed(4)
    norm, layer = nn.BatchNorm2d(4).eval(), nn.Conv2d(2, 4, 3)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    folded = nn.utils.fuse_conv_bn_eval(layer.eval(), norm)
    tail = (nn.ReLU(), nn.Flatten())
    inputs = torch.randn(3, 2, 5, 5)
    for rule in RULES:
        apart, together = (
            propagated(nn.Sequential(*head, *tail).eval(), inputs, rule)[2] for head in ((layer, norm), (folded,))
        )
        assert torch.allclose(apart, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Softplus(), "'1.inner' of type Softplus.*'softplus'"),
        (nn.LSTM(6, 6), "'1.inner' of type LSTM.*'lstm'"),
        (nn.InstanceNorm1d(3), "'1.inner' of type InstanceNorm1d.*'instance_norm'"),
    ],
)
def test_an_unsupported_layer_is_named_by_path_and_type(layer: nn.Module, words: str) -> None:
    inner = nn.Sequential()
    inner.add_module("inner", layer)
    module = nn.Sequential(nn.Linear(4, 6), inner).eval()
    with pytest.raises(AnalysisError, match=words), Propagation(module):
        module(torch.randn(3, 4).requires_grad_())


def test_an_unsupported_function_of_the_network_itself_is_named() -> None:
    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sin()

    with pytest.raises(AnalysisError, match=r"the network itself.*Sine.*'sin'"), Propagation(Sine()):
        Sine()(torch.randn(2, 3).requires_grad_())


def test_a_network_is_left_as_it_was() -> None:
    core = ct.load("zoo:digits-cnn")
    before = {name: tensor.clone() for name, tensor in core.module.state_dict().items()}
    inputs = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        plain = core.module(inputs)
    propagated(core.module, inputs)
    with torch.no_grad():
        assert torch.equal(core.module(inputs), plain)
    assert all(torch.equal(before[name], tensor) for name, tensor in core.module.state_dict().items())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in core.module.modules())
    assert all(parameter.grad is None for parameter in core.module.parameters())
