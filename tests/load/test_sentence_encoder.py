"""The sentence encoder of the zoo: padding, checkpoints of BERT, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import concertina as ct
from concertina.errors import LoadError
from concertina.load.zoo import ZOO

SMALL = "vocabulary=40,positions=12,width=16,layers=2,heads=4,inner=32,outputs=16"


def small(weights: str | Path = "random") -> ct.Core:
    return ct.load(f"zoo:sentence-encoder@{SMALL}", weights=weights)


def test_it_reads_token_ids_and_is_made_for_similarity() -> None:
    core = small()
    assert core.task == "similarity"
    assert core.example_inputs[0].dtype == torch.int64
    assert bool((core.example_inputs[0] > 0).all())
    assert int(core.example_inputs[0].max()) < 40
    assert core.module(*core.example_inputs).shape == (2, 16)


def test_padding_changes_no_embedding_and_a_sentence_of_padding_alone_has_one() -> None:
    module, ids = small().module, torch.tensor([[5, 6, 7, 0], [8, 9, 0, 0], [0, 0, 0, 0]])
    whole = module(ids)
    assert bool(torch.isfinite(whole).all())
    assert torch.allclose(whole[1], module(ids[1:2, :2])[0], atol=1e-6)
    assert torch.allclose(whole, module(torch.nn.functional.pad(ids, (0, 5))), atol=1e-6)


def test_word_order_and_every_token_matter() -> None:
    module = small().module
    one, other, longer = (module(torch.tensor([row])) for row in ([5, 6, 7], [7, 6, 5], [5, 6, 7, 8]))
    assert not torch.allclose(one, other, atol=1e-3)
    assert not torch.allclose(one, longer, atol=1e-3)


def test_a_bert_checkpoint_is_taken_as_it_is(tmp_path: Path) -> None:
    own = dict(small().module.state_dict())
    bert = {f"bert.{name}": tensor.clone() for name, tensor in own.items() if name != "head.weight"}
    bert["bert.pooler.dense.weight"] = torch.ones(16, 16)
    bert["bert.embeddings.position_ids"] = torch.arange(12)[None]
    save_file(bert, tmp_path / "bert.safetensors")
    loaded = small(tmp_path / "bert.safetensors")
    assert torch.equal(loaded.module.head.weight, torch.eye(16))
    assert torch.equal(loaded.module.encoder.layer[1].output.dense.weight, own["encoder.layer.1.output.dense.weight"])


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    save_file(
        {name: tensor.clone() for name, tensor in small().module.state_dict().items()}, tmp_path / "w.safetensors"
    )
    with pytest.raises(LoadError, match="do not belong"):
        ct.load(f"zoo:sentence-encoder@{SMALL.replace('layers=2', 'layers=3')}", weights=tmp_path / "w.safetensors")


def test_many_tokens_are_allowed_but_not_any_number() -> None:
    assert ZOO.get("sentence-encoder").complete({"vocabulary": 30522})["vocabulary"] == 30522
    for name, value in (("vocabulary", 2**21), ("inner", 30522)):
        with pytest.raises(LoadError, match=name):
            ZOO.get("sentence-encoder").complete({name: value})
