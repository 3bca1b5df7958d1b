"""What makes the analysis fast and must not change its outcome: remembered operations, smaller inputs, light copies."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.analyse.networks import IMAGES, SOUND, SqueezeExcite, core_of
from torch import Tensor, nn
from torch.nn import functional as F

import concertina as ct
from concertina.analyse import analyse
from concertina.analyse.memo import Contents, Remembering, Tape
from concertina.analyse.probe import Probe
from concertina.analyse.slicing import copy_with_tensors, every_tensor, light_copy, whole_copy
from concertina.analyse.smaller import smaller
from concertina.types import Graph


def test_operations_that_were_run_before_are_looked_up_until_a_weight_or_an_input_differs() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(4, 3).double().requires_grad_(False), torch.randn(2, 4, dtype=torch.float64)
    contents, tape, counted = Contents(), Tape(), Counted()
    tensors = dict(layer.named_parameters())
    contents.add(tensors)

    def run(given: Tensor, is_exact: bool = False) -> Tensor:
        with torch.no_grad(), counted, Remembering(contents, [tape], tape, is_exact):
            return layer(given)

    first = run(x)
    assert torch.equal(run(x.clone()), first)
    assert torch.equal(run(x + 1e-14), first)
    assert counted.times == 1
    assert not torch.equal(run(x + 1e-14, is_exact=True), first)
    assert torch.equal(run(x, is_exact=True), first)
    with contents.replaced(tensors, {"weight": torch.ones_like(layer.weight)}):
        assert torch.equal(run(x), F.linear(x, layer.weight, layer.bias))
    assert torch.equal(run(x), first)
    assert torch.equal(run(x + 1), F.linear(x + 1, layer.weight, layer.bias))


class Counted(torch.overrides.TorchFunctionMode):
    """Counts linear layers that are really computed."""

    times = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.times += func is F.linear
        return func(*args, **(kwargs or {}))


def test_what_is_looked_up_may_be_changed_in_place() -> None:
    torch.manual_seed(0)
    probe = Probe.of(core_of(nn.Sequential(nn.Linear(12, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)), 2, 12))
    assert all(torch.equal(probe.run(), probe.outputs) for _ in range(3))


@pytest.mark.parametrize("name", sorted(SOUND))
def test_remembering_changes_no_outputs(name: str) -> None:
    make, shape = SOUND[name]
    torch.manual_seed(0)
    probe = Probe.of(core_of(make(), *shape))
    with probe.plainly():
        plain = probe.run()
    assert torch.allclose(probe.run(), plain, rtol=1e-12, atol=1e-12)


def test_light_copies_are_what_deep_copies_are() -> None:
    module = ct.load("zoo:digits-cnn", weights="random").module
    tensors = {name: tensor.detach() for name, tensor in every_tensor(module).items()}
    changed = {"head.bias": torch.ones(10)}
    x, names = ct.load("zoo:digits-cnn").example_inputs[0], [name for name, _ in module.named_modules()]
    expected = copy_with_tensors(module, tensors | changed)
    for made in (light_copy(module, tensors, changed), whole_copy(module, tensors | changed)):
        assert [name for name, _ in made.named_modules()] == names
        assert torch.equal(made(x), expected(x))
        assert made.head is not module.head
    whole = whole_copy(module, tensors)
    assert not {id(layer) for layer in whole.modules()} & {id(layer) for layer in module.modules()}
    whole.register_forward_hook(lambda *_: None)
    assert not module._forward_hooks


class Reader(nn.Module):
    """Embeds tokens and reads them in some way."""

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.table, self.fc1, self.fc2, self.read = nn.Embedding(9, 12), nn.Linear(12, 8), nn.Linear(8, 3), read

    def forward(self, ids: Tensor) -> Tensor:
        x = self.fc1(self.table(ids)).relu()
        return self.fc2(x * self.read(ids).to(x)).mean(1)


def test_texts_are_shortened_and_the_last_token_stays() -> None:
    ids = torch.arange(80).reshape(2, 40) % 9
    probe = Probe.of(core_of(Reader(lambda ids: torch.ones(1)), inputs=(ids,)))
    short = smaller(probe).inputs[0]
    assert short.shape == (2, 8)
    assert torch.equal(short[:, -1], ids[:, -1])
    assert torch.equal(short[:, :-1], ids[:, :7])


@pytest.mark.parametrize(("shape", "side"), [((2, 3, 224, 224), 96), ((2, 3, 128, 128), 128)])
def test_images_get_smaller_where_that_is_worth_it(shape: tuple[int, ...], side: int) -> None:
    probe = Probe.of(core_of(SqueezeExcite(), *shape))
    assert smaller(probe).inputs[0].shape[-1] == side


def test_networks_that_take_one_size_keep_it() -> None:
    flat = nn.Sequential(nn.Conv2d(3, 2, 9, 8), nn.Flatten(), nn.Linear(2 * 27 * 27, 3))
    probe = Probe.of(core_of(flat, 2, 3, 220, 220))
    assert smaller(probe) is probe


def test_a_rule_that_only_holds_for_short_texts_is_found_out_on_long_ones() -> None:
    ids = torch.arange(80).reshape(2, 40) % 9
    ruled = Reader(lambda ids: torch.linspace(1.0, 2.0, 8) if ids.shape[1] > 8 else torch.ones(1))
    graph = analyse(core_of(ruled, inputs=(ids,)))
    assert {group.name: group.elastic for group in graph.groups}["fc1"] is False
    assert "jointly" in next(group.rigid for group in graph.groups if group.name == "fc1")
    assert next(group for group in graph.groups if group.name == "table").elastic


def test_a_rule_that_only_holds_for_long_texts_is_found_out_on_short_ones() -> None:
    ids = torch.arange(80).reshape(2, 40) % 9
    ruled = Reader(lambda ids: torch.linspace(1.0, 2.0, 8) if ids.shape[1] < 9 else torch.ones(1))
    graph = analyse(core_of(ruled, inputs=(ids,)))
    assert {group.name: group.elastic for group in graph.groups} == {"table": True, "fc1": False, "fc2": False}


def test_large_images_give_what_small_ones_give() -> None:
    torch.manual_seed(0)
    network = SqueezeExcite()
    assert analyse(core_of(network, 2, 3, 150, 150)) == analyse(core_of(network, *IMAGES))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BERT", "ResNet"])
def test_networks_of_real_size_are_analysed_in_a_minute_or_two(name: str) -> None:
    hf = pytest.importorskip("transformers")
    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 224, 224) if name == "ResNet" else torch.randint(3, 30000, (2, 16))
    task = "ForImageClassification" if name == "ResNet" else "ForSequenceClassification"

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = getattr(hf, f"{name}{task}")(getattr(hf, f"{name}Config")()).eval()

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x).logits

    core, told, started = ct.load(Logits(), inputs), [0.0], time.process_time()
    graph: Graph = analyse(core, progress=lambda _what, done: told.append(done), cache=False)
    assert time.process_time() - started < 150
    assert max(b - a for a, b in pairwise(told)) < 0.1
    assert len(graph.elastic_groups) >= len(graph.groups) - 3
    assert len(graph.elastic_blocks) >= 12
