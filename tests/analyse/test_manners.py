"""What the analysis leaves alone, what it refuses, and what users may ask of it."""

from __future__ import annotations

import pytest
import torch
from tests.analyse.networks import IMAGES, SOUND, TOKENS, CountedAttention, SqueezeExcite, Transformer, core_of
from torch import Tensor, nn

import concertina as ct
from concertina.analyse import analyse
from concertina.errors import AnalysisError
from concertina.types import Core, Graph


def reasons(graph: Graph) -> dict[str, str]:
    return {group.name: group.rigid for group in graph.groups}


def test_the_network_and_the_randomness_of_torch_are_left_as_they_were() -> None:
    core = ct.load("zoo:tiny-vit", weights="random")
    core.module.blocks[0].train()
    core.module.head.weight.requires_grad_(False)
    calls: list[int] = []
    core.module.register_forward_hook(lambda *_: calls.append(1))
    before = {name: tensor.clone() for name, tensor in core.module.state_dict().items()}
    modes = [layer.training for layer in core.module.modules()]
    gradients = [parameter.requires_grad for parameter in core.module.parameters()]
    hooks = [(len(layer._forward_hooks), len(layer._forward_pre_hooks)) for layer in core.module.modules()]
    randomness = torch.get_rng_state()

    analyse(core)

    after = core.module.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert modes == [layer.training for layer in core.module.modules()]
    assert gradients == [parameter.requires_grad for parameter in core.module.parameters()]
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in core.module.modules()]
    assert all(parameter.grad is None for parameter in core.module.parameters())
    assert torch.equal(randomness, torch.get_rng_state())


def test_equal_seeds_give_equal_graphs_whatever_the_global_seed() -> None:
    core = core_of(Transformer(lambda: CountedAttention(16, 4, 2)), *TOKENS)
    torch.manual_seed(1)
    first = analyse(core, seed=7)
    torch.manual_seed(2)
    assert analyse(core, seed=7) == first


def test_weights_that_require_no_gradient_are_analysed_like_others() -> None:
    core = core_of(SqueezeExcite(), *IMAGES)
    expected = analyse(core)
    core.module.requires_grad_(False)
    with torch.no_grad():
        assert analyse(core) == expected


def test_progress_is_told_in_rising_shares() -> None:
    told: list[tuple[str, float]] = []
    analyse(core_of(SqueezeExcite(), *IMAGES), progress=lambda what, done: told.append((what, done)))
    shares = [done for _, done in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert {what for what, _ in told} == {"finding coupled channels", "verifying groups", "verifying all together"}


def test_a_group_asked_for_by_name_is_kept_whole_and_no_other() -> None:
    core = core_of(SqueezeExcite(), *IMAGES)
    asked = reasons(analyse(core, ignore=["squeeze"]))
    assert asked["squeeze"] == "kept whole by request"
    assert asked["conv1"] == "kept whole by request"
    assert reasons(analyse(core, ignore=["excite"]))["squeeze"] == "kept whole by request"


def test_a_module_asked_for_keeps_every_group_and_block_that_touches_it_whole() -> None:
    torch.manual_seed(0)
    make, shape = SOUND["layer scale"]
    graph = analyse(core_of(make(), *shape), ignore=("blocks.0",))
    assert reasons(graph) == {
        "embed": "kept whole by request",
        "head": "it is the network's output",
        "blocks.0.fc1": "kept whole by request",
        "blocks.1.fc1": "",
    }
    assert [block.rigid for block in graph.blocks] == ["kept whole by request", ""]


def test_a_misspelt_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(AnalysisError, match=r"got 'sqeeze'.*Did you mean 'squeeze'\?"):
        analyse(core_of(SqueezeExcite(), *IMAGES), ignore=("sqeeze",))


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    core = core_of(SqueezeExcite(), *IMAGES)
    with torch.no_grad():
        core.module.squeeze.bias[0] = float("nan")
    with pytest.raises(AnalysisError, match=r"'squeeze.bias' of the network: got NaN"):
        analyse(core)


def test_a_network_that_does_not_run_on_its_inputs_is_refused_with_the_cause() -> None:
    core = Core(SqueezeExcite().eval(), (torch.zeros(2, 4, 8, 8),), "module:SqueezeExcite", "")
    with pytest.raises(AnalysisError, match=r"module:SqueezeExcite does not run .* shape \(2, 4, 8, 8\).*channels"):
        analyse(core)


def test_outputs_other_than_one_tensor_are_refused() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(12, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, self.fc(x)

    with pytest.raises(AnalysisError, match=r"output of module:Pair: got tuple; allowed: one tensor.*Wrap"):
        analyse(core_of(Pair(), *TOKENS))


def test_outputs_that_are_not_finite_are_refused() -> None:
    class Endless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) / 0

    with pytest.raises(AnalysisError, match="gives NaN or infinite outputs"):
        analyse(core_of(Endless(), *TOKENS))
