"""Soft prompts: learnt vectors among those of the tokens, at every size."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.load.hub_folders import text_classifier
from torch import Tensor, nn

import concertina as ct
from concertina.errors import ConcertinaError, InputError
from concertina.load.data import ArrayData
from concertina.nest import Supernet, random_spec
from concertina.nest.plugged import Plug, cut_plug, new_plug, with_plugs
from concertina.types import SubnetSpec

SIZES = "vocabulary=40,positions=16,width=16,layers=2,heads=2,inner=32,outputs=16"


@cache
def decoder() -> tuple[Supernet, Tensor]:
    core = ct.load("zoo:tiny-decoder@vocabulary=40,context=12,width=16,depth=2,heads=2,inner=32", weights="random")
    ids = torch.randint(1, 40, (3, 10), generator=torch.Generator().manual_seed(0))
    return ct.prepare(core, [(ids,)], points=(0.5,), epochs=0, criterion="magnitude-l2").supernet, ids


@cache
def encoder(pooling: str) -> tuple[Supernet, Tensor]:
    """Return the zoo's encoder, which takes the mean of all tokens, or one that answers by the first of them."""
    torch.manual_seed(0)
    inner = ct.load(f"zoo:sentence-encoder@{SIZES}", weights="random")
    ids = torch.randint(1, 40, (3, 10), generator=torch.Generator().manual_seed(0))
    core = inner if pooling == "mean" else ct.load(First(inner.module), ids, class_names=("a", "b"))
    data = [(ids, ids)] if pooling == "mean" else [(ids, torch.tensor([0, 1, 0]))]
    return ct.prepare(core, data, points=(0.5,), epochs=0, criterion="magnitude-l2").supernet, ids


class First(nn.Module):
    """Classes of a text by its first token."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.embeddings, self.encoder, self.head = inner.embeddings, inner.encoder, nn.Linear(16, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(self.embeddings(ids), (ids != 0)[:, None, None, :])[:, 0])


def specs(made: Supernet) -> list[SubnetSpec]:
    generator = torch.Generator().manual_seed(0)
    return [made.space.full, *(random_spec(made.space, generator) for _ in range(3))]


def vectors(made: Supernet, spec: SubnetSpec, plug: Plug) -> Tensor:
    return next(iter(cut_plug(made.space, spec, plug).values()))["vectors"]


def test_a_decoder_reads_the_prompt_first_and_answers_for_the_text_alone() -> None:
    made, ids = decoder()
    plug = new_plug(made, "prompt", layers=["embed"], options={"tokens": 3, "in_front": True})
    for spec in specs(made):
        plain, prompted = made.subnet(spec), with_plugs(made, spec, [plug])
        with torch.no_grad():
            x = torch.cat([vectors(made, spec, plug).expand(3, -1, -1), plain.embed(ids)], dim=1)
            sight = plain._sight(torch.zeros(3, 13, dtype=torch.int64), 0)
            for block in plain.blocks:
                x = block(x, sight, None)
            wanted = plain.head(plain.norm(x))[:, 3:]
            assert torch.allclose(prompted(ids), wanted, atol=1e-5)
            assert prompted(ids).shape == plain(ids).shape
            assert spec != made.space.full or not torch.allclose(prompted(ids), plain(ids), atol=1e-3)


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_an_encoder_has_the_prompt_behind_its_first_token_and_padding_stays_unseen(pooling: str) -> None:
    made, ids = encoder(pooling)
    plug = new_plug(made, "prompt", layers=["word_embeddings"], options={"tokens": 4})
    padded = torch.cat([ids, torch.zeros(3, 2, dtype=torch.int64)], dim=1)
    for spec in specs(made):
        prompted = with_plugs(made, spec, [plug])
        with torch.no_grad():
            assert torch.allclose(prompted(ids), prompted(padded), atol=1e-5)
            changes = float((prompted(ids) - made.subnet(spec)(ids)).abs().max())
            assert changes > 1e-3 or spec != made.space.full  # a subnet may be without attention
            first = vectors(made, spec, plug)
            table = prompted.embeddings.word_embeddings
            assert torch.equal(table(ids)[:, 1:5], first.expand(3, -1, -1))
            assert torch.equal(table(ids)[:, 0], table.weight[ids[:, 0]])


def test_prompts_are_learnt_and_the_core_stays_as_it_was() -> None:
    made, ids = encoder("first")
    plug = new_plug(made, "prompt", layers=["word_embeddings"], options={"tokens": 4})
    leaves = {key: nn.Parameter(tensor) for key, tensor in plug.tensors.items()}
    live = plug.with_tensors(leaves)
    optimizer = torch.optim.AdamW(leaves.values(), 0.1)
    wanted, losses = torch.tensor([1, 1, 1]), []
    for _ in range(15):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(with_plugs(made, made.space.full, [live], gradient=True)(ids), wanted)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05
    assert all(parameter.grad is None for parameter in made.module.parameters())


def test_texts_that_are_too_long_with_the_prompt_are_refused_in_words() -> None:
    made, ids = encoder("mean")
    plug = new_plug(made, "prompt", layers=["word_embeddings"], options={"tokens": 4})
    prompted = with_plugs(made, made.space.full, [plug])
    assert prompted(ids.repeat(1, 2)[:, :12]).shape == (3, 16)
    with pytest.raises(InputError, match="got 17 places, 4 of them for the prompt; allowed: up to 16"):
        prompted(ids.repeat(1, 2)[:, :13])


@pytest.mark.parametrize(("kind", "most"), [("Bert", 20), ("Roberta", 18)])
def test_networks_of_transformers_say_how_many_places_they_have(kind: str, most: int, tmp_path: Path) -> None:
    hf = pytest.importorskip("transformers")
    padding = {"pad_token_id": 1} if kind == "Roberta" else {}
    core = ct.load(f"hf:{text_classifier(hf, tmp_path, kind, **padding)}")
    data = [(core.example_inputs[0], torch.tensor([0, 1]))]
    made = ct.prepare(core, data, points=(0.5,), epochs=0, criterion="magnitude-l2").supernet
    prompted = with_plugs(made, made.space.full, [new_plug(made, "prompt", layers=["word_embeddings"])])
    ids = torch.randint(3, 60, (2, most))
    assert prompted(ids[:, : most - 8]).shape == (2, 2)
    with pytest.raises(InputError, match=f"got {most + 1} places, 8 of them for the prompt; allowed: up to {most}"):
        prompted(ids[:, : most - 7])


def test_what_a_prompt_cannot_do_is_refused() -> None:
    made, ids = decoder()
    plug = new_plug(made, "prompt", layers=["embed"], options={"in_front": True})
    prompted = with_plugs(made, made.space.full, [plug])
    with pytest.raises(InputError, match="more than token ids"):
        prompted(ids, prompted.new_cache())
    with pytest.raises(InputError, match=r"allowed: ids \(batch, tokens\)"):
        prompted(torch.zeros(2, 3))
    with pytest.raises(InputError, match="'prompt' and 'prompt'; allowed: one"):
        with_plugs(made, made.space.full, [plug, plug])
    with pytest.raises(InputError, match=r"got .*; allowed: one"):
        new_plug(encoder("mean")[0], "prompt")


def test_adapting_finds_the_layer_that_reads_the_tokens_and_trains_every_size() -> None:
    ids = encoder("first")[1]
    inner = ct.load(f"zoo:sentence-encoder@{SIZES}", weights="random")
    core = ct.load(First(inner.module), ids, class_names=("a", "b"))
    texts = torch.randint(1, 40, (64, 10), generator=torch.Generator().manual_seed(1))
    data = ArrayData((texts, (texts[:, 3] > 20).long()), ("a", "b"))
    family = ct.prepare(core, data, points=(0.5,), epochs=0, criterion="magnitude-l2").family
    family.adapt("prompted", data, epochs=1, batch_size=16, kind="prompt", options={"tokens": 2})
    assert list(family.modules["prompted"].plugs[0].places) == ["embeddings.word_embeddings"]
    assert family.with_modules("p50", "prompted")(texts).shape == (64, 2)
    pixels = ct.load("zoo:mlp")
    data = ArrayData((pixels.example_inputs[0], torch.tensor([0, 1])), pixels.class_names)
    images = ct.prepare(pixels, data, points=(0.5,), epochs=0, criterion="magnitude-l2").family
    with pytest.raises(ConcertinaError, match="the layer that reads token ids"):
        images.adapt("x", data, kind="prompt")
