"""The decoder of the zoo: what a token sees, the cache, and heads that follow the projections."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

import concertina as ct
from concertina.errors import LoadError
from concertina.load.zoo import ZOO
from concertina.load.zoo.tiny_decoder import TinyDecoder

CONTEXT = 8


def small(**arguments: int) -> TinyDecoder:
    torch.manual_seed(0)
    sizes = {"vocabulary": 20, "context": CONTEXT, "width": 16, "depth": 2, "heads": 2, "inner": 24}
    return ZOO.get("tiny-decoder").build(**(sizes | arguments)).double().eval()  # type: ignore[return-value]


def text(tokens: int, batch: int = 2) -> torch.Tensor:
    return torch.randint(20, (batch, tokens), generator=torch.Generator().manual_seed(1))


def test_it_reads_bytes_and_is_made_for_language() -> None:
    core = ct.load("zoo:tiny-decoder")
    assert (core.task, core.arguments["vocabulary"]) == ("language", 256)
    assert core.example_inputs[0].shape == (2, 128)
    assert core.module(*core.example_inputs).shape == (2, 128, 256)


def test_no_token_sees_what_follows_and_none_sees_further_back_than_the_context() -> None:
    module, ids = small(depth=1), text(20)
    whole = module(ids)
    changed = ids.clone()
    changed[:, 10] = (ids[:, 10] + 1) % 20
    moved = (module(changed) - whole).abs().amax(dim=(0, 2)) > 1e-9
    assert moved.nonzero().flatten().tolist() == list(range(10, 10 + CONTEXT))


def test_where_a_text_stands_makes_no_difference_but_the_order_of_tokens_does() -> None:
    module, ids = small(depth=1), text(20, batch=1)
    assert torch.allclose(module(ids)[:, -1], module(ids[:, -CONTEXT:])[:, -1], atol=1e-12)
    turned = ids.clone()
    turned[:, [-3, -2]] = ids[:, [-2, -3]]
    assert not torch.allclose(module(ids)[:, -1], module(turned)[:, -1], atol=1e-6)


@pytest.mark.parametrize("parts", [(1,) * 20, (5, 1, 1, 13), (8, 12), (20,), (3, 9, 8)])
def test_a_cache_changes_nothing(parts: tuple[int, ...]) -> None:
    module, ids = small(), text(20)
    cache = module.new_cache()
    found = torch.cat([module(part, cache) for part in ids.split(parts, dim=1)], dim=1)
    assert torch.allclose(found, module(ids), atol=1e-12)
    assert cache.num_tokens == 20


@pytest.mark.parametrize("context", [1, 2])
def test_a_cache_of_the_shortest_contexts_is_right_too(context: int) -> None:
    module, ids = small(context=context), text(6)
    cache = module.new_cache()
    found = torch.cat([module(part, cache) for part in ids.split(2, dim=1)], dim=1)
    assert torch.allclose(found, module(ids), atol=1e-12)


def test_the_cache_holds_the_heads_that_there_are_and_no_more_tokens_than_are_seen() -> None:
    module = small()
    narrow, attention = copy.deepcopy(module), module.blocks[0].attention
    with torch.no_grad():
        attention.proj.weight[:, 8:] = 0
        less = narrow.blocks[0].attention
        for name in "qkv":
            linear = getattr(less, name)
            linear.weight = nn.Parameter(linear.weight[:8])
        less.proj.weight = nn.Parameter(less.proj.weight[:, :8])
    cache, ids = narrow.new_cache(), text(30)
    found = torch.cat([narrow(part, cache) for part in ids.split(4, dim=1)], dim=1)
    assert torch.allclose(found, module(ids), atol=1e-12)
    shapes = [tuple(memory.held[0].shape) for memory in cache.memories if memory.held is not None]
    assert shapes == [(2, 1, CONTEXT - 1, 8), (2, 2, CONTEXT - 1, 8)]


@pytest.mark.parametrize(("name", "value"), [("width", 18), ("heads", 3), ("heads", 16)])
def test_sizes_that_do_not_go_together_are_refused(name: str, value: int) -> None:
    with pytest.raises(LoadError, match="heads of an even size"):
        small(**{name: value})


def test_the_packaged_weights_know_english() -> None:
    core = ct.load("zoo:tiny-decoder")
    card = json.loads(ZOO.get("tiny-decoder").weights_path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["figures"]["validation"]["bits_per_byte"] < 2.4
    ids = ct.open_tokenizer("bytes").text(" The first game of the season was played in the")
    with torch.no_grad():
        logits = core.module(ids[None])[0, :-1]
    assert float(nn.functional.cross_entropy(logits, ids[1:])) < 1.9
