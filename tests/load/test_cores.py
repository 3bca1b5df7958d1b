"""Cores from modules and from the zoo: copied, checked, refused in words."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.errors import LoadError
from concertina.load import fingerprint, load
from concertina.types import Preprocess


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


class Lambda(nn.Module):
    """A linear layer followed by any function."""

    def __init__(self, then: object) -> None:
        super().__init__()
        self.linear, self.then = nn.Linear(6, 3), then

    def forward(self, x: Tensor) -> object:
        return self.then(self.linear(x))


def test_a_users_module_is_copied_and_left_as_it_was() -> None:
    module = small().train()
    before = copy.deepcopy(module.state_dict())
    core = load(module, torch.randn(4, 6), class_names=("a", "b", "c"), licence="MIT", preprocess=Preprocess(0.5))
    assert module.training
    assert not core.module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    shared = {p.data_ptr() for p in module.parameters()} & {p.data_ptr() for p in core.module.parameters()}
    assert shared == set()
    assert (core.source, core.licence, core.class_names, core.preprocess.scale) == (
        "module:Sequential",
        "MIT",
        ("a", "b", "c"),
        0.5,
    )


def test_example_inputs_are_copied_and_may_be_several() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.linear(x + y)

    x, y = torch.randn(3, 4), torch.randn(3, 4)
    core = load(Two(), (x, y))
    x.zero_()
    assert len(core.example_inputs) == 2
    assert float(core.example_inputs[0].abs().sum()) > 0


def test_random_weights_are_the_same_at_every_call_and_leave_the_global_generator() -> None:
    torch.manual_seed(5)
    first = torch.rand(1)
    torch.manual_seed(5)
    one, two = load("zoo:mlp", weights="random"), load("zoo:mlp", weights="random")
    assert torch.equal(torch.rand(1), first)
    assert one.fingerprint == two.fingerprint != load("zoo:mlp").fingerprint


def test_fingerprint_sees_one_changed_value_and_no_step_counter() -> None:
    module = small()
    start = fingerprint(module)
    module(torch.randn(4, 6))
    moved = fingerprint(module)
    module[1].num_batches_tracked += 5
    assert fingerprint(module) == moved != start
    with torch.no_grad():
        module[0].bias[0] += 1e-7
    assert fingerprint(module) != moved


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_fingerprint_takes_every_dtype_and_tells_them_apart(dtype: torch.dtype) -> None:
    module = small()
    assert len(fingerprint(module.to(dtype))) == 64
    assert fingerprint(module) != fingerprint(small())


def test_fingerprint_does_not_depend_on_memory_order() -> None:
    module = small()
    transposed = copy.deepcopy(module)
    transposed[0].weight = nn.Parameter(module[0].weight.detach().T.contiguous().T)
    assert fingerprint(transposed) == fingerprint(module)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("digits-cnn", "source 'digits-cnn' has no known scheme.*Did you mean 'zoo:digits-cnn'"),
        ("onnx:resnet-18", "source 'onnx:resnet-18' has no known scheme: allowed: zoo:NAME, hf:NAME, timm:NAME"),
        ("", "source '' has no known scheme"),
        (3, "source of a core: got int"),
    ],
)
def test_unknown_sources_are_refused(source: object, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        load(source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (None, "a module needs example inputs"),
        (torch.randn(1, 6), r"batch of the example inputs: got \[1\]; allowed: one size of 2 or more"),
        (torch.tensor(1.0), r"batch of the example inputs: got \[0\]"),
        ((torch.randn(2, 6), torch.randn(3, 6)), r"got \[2, 3\]"),
        ((), r"example inputs: got \[\]"),
        (("text",), r"example inputs: got \['str'\]; allowed: tensors"),
        (torch.full((2, 6), float("nan")), "example inputs hold NaN"),
        (torch.randn(2, 5), r"module:Sequential does not run on its example inputs of shape \(2, 5\): got"),
    ],
)
def test_bad_example_inputs_are_refused(inputs: object, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        load(small(), inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (lambda y: {"logits": y}, "output of module:Lambda: got dict; allowed: one tensor"),
        (lambda y: y.sum(), r"got shape \(\); allowed: the batch as first dim"),
        (lambda y: y.T, r"got shape \(3, 4\)"),
        (lambda y: y / 0, "NaN or infinite outputs"),
        (lambda y: F.dropout(y, 0.5), "gives two answers to one input"),
    ],
)
def test_networks_that_cannot_be_used_are_refused(then: object, words: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(LoadError, match=words):
        load(Lambda(then), torch.randn(4, 6))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    module = small()
    with torch.no_grad():
        module[4].weight[1, 2] = value
        module[1].running_mean[0] = value
    with pytest.raises(LoadError, match=r"hold NaN or infinite values: got '4\.weight', '1\.running_mean'"):
        load(module, torch.randn(2, 6))


def test_an_infinite_mask_is_no_weight() -> None:
    module = Lambda(lambda y: y)
    module.register_buffer("mask", torch.full((3,), float("-inf")))
    assert "mask" in dict(load(module, torch.randn(2, 6)).module.named_buffers())
    module.mask[0] = float("nan")
    with pytest.raises(LoadError, match="NaN or infinite values: got 'mask'"):
        load(module, torch.randn(2, 6))


def test_modules_without_values_or_that_cannot_be_copied_are_refused() -> None:
    with pytest.raises(LoadError, match="no parameters"):
        load(nn.ReLU(), torch.randn(2, 6))
    with torch.device("meta"):
        empty = nn.Linear(6, 3)
    with pytest.raises(LoadError, match="meta device"):
        load(empty, torch.randn(2, 6))
    module = small()
    module.kept = module[0].weight * 2
    with pytest.raises(LoadError, match="cannot be copied: got Only Tensors created explicitly"):
        load(module, torch.randn(2, 6))


def test_class_names_must_match_the_outputs() -> None:
    with pytest.raises(LoadError, match="class names: got 2; allowed: 3, one for each output"):
        load(small(), torch.randn(2, 6), class_names=("a", "b"))
    with pytest.raises(LoadError, match="class names: got 1 doubled"):
        load(small(), torch.randn(2, 6), class_names=("a", "b", "a"))
    assert load(small(), torch.randn(2, 6), task="similarity").class_names == ()
