"""Networks that tag tokens: fitted as they are, and an encoder that learns it as one of its modules."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor

import concertina as ct
from concertina.errors import AnalysisError, FormatError
from concertina.load.data import TensorData
from concertina.nest.token_stream import token_stream
from concertina.objective import Similarity

NAMES = ("O", "B-high", "B-low")
SMALL = "zoo:sentence-encoder@vocabulary=64,positions=16,width=16,layers=2,heads=2,inner=32"


def tagged(count: int = 256) -> TensorData:
    """Return texts whose large and small ids are names; a text may end early."""
    ids = torch.randint(1, 64, (count, 8), generator=torch.Generator().manual_seed(0))
    ids[::3, 6:] = 0
    tags = torch.where(ids > 45, 1, torch.where(ids < 20, 2, 0))
    return TensorData((ids, torch.where(ids == 0, -100, tags)), NAMES)


@cache
def encoder() -> ct.Family:
    """Return a family of a small encoder over layers, heads, inner widths and the width of its stream."""
    torch.manual_seed(0)
    core, data = ct.load(SMALL, weights="random"), tagged()
    ids = data.tensors[0]
    pairs = TensorData((ids[:128], ids[128:], torch.rand(128)))
    family = ct.fit(core, pairs, points=(0.05, 0.4), epochs=0.5, task=Similarity(), order="criterion")
    family.adapt("names", data, data, epochs=3, batch_size=16, learning_rate=0.02)
    return family


def test_an_encoder_learns_to_tag_at_every_size() -> None:
    family, data = encoder(), tagged()
    found = family.measure_with(data, "names")
    assert {record.metric for record in found} == {"span_f1"}
    assert min(record.value for record in found) > 0.7
    widths = {family.view(point.name).embeddings.LayerNorm.weight.shape[0] for point in family.points}
    assert len(widths) > 1, "the stream is not cut, so the head's part of it is not tested"
    assert family.modules["names"].task == "tagging"


def test_its_answers_are_one_a_token_and_the_encoder_is_as_it_was() -> None:
    family, ids = encoder(), tagged().tensors[0][:4]
    before = family.answer(ids)
    assert family.answer(ids, "names").shape == (4, 8, 3)
    assert family.answer(ids[:, :5], "names").shape == (4, 5, 3)
    assert torch.equal(family.answer(ids), before)


def test_many_threads_get_their_own_answers() -> None:
    family, (ids, _) = encoder(), tagged().tensors
    network, wanted = family.with_modules("p5", "names"), dict[int, Tensor]()
    with torch.inference_mode():
        wanted = {i: network(ids[i : i + 1]) for i in range(24)}
        wrong: list[int] = []

        def ask(start: int) -> None:
            with torch.inference_mode():
                for _ in range(5):
                    wrong.extend(i for i in range(start, 24, 4) if not network(ids[i : i + 1]).equal(wanted[i]))

        threads = [Thread(target=ask, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_it_travels_in_the_file_and_a_spoilt_place_is_refused(tmp_path: Path) -> None:
    family, ids = encoder(), tagged().tensors[0][:4]
    family.save(tmp_path / "encoder.concertina")
    again = ct.open(tmp_path / "encoder.concertina")
    for point in ("p5", "p100"):
        wanted = family.answer(ids, "names", point=point)
        assert torch.equal(again.answer(ids, "names", point=point), wanted)
    family.save_module("names", tmp_path / "names.safetensors")
    whole = (tmp_path / "names.safetensors").read_bytes()
    for there, spoilt in ((b'at\\": \\"encoder', b'at\\": \\"encodex'), (b"weight:1", b"weight:9")):
        assert there in whole
        (tmp_path / "spoilt.safetensors").write_bytes(whole.replace(there, spoilt))
        with pytest.raises(FormatError, match="head on tokens"):
            family.load_module(tmp_path / "spoilt.safetensors", "spoilt")


def test_a_prompt_leaves_one_answer_for_each_token_of_the_text() -> None:
    family, data = encoder(), tagged(64)
    family.adapt("prompted", data, kind="prompt", options={"tokens": 3}, epochs=0.5)
    assert family.answer(data.tensors[0][:4], "prompted").shape == (4, 8, 3)
    family.modules.delete("prompted")


def test_a_network_without_vectors_of_tokens_is_told() -> None:
    core = ct.load("zoo:mlp", weights="random")
    digits = ct.open_data("zoo:digits@train", preprocess=core.preprocess)
    family = ct.fit(core, digits.subset(range(64)), points=(0.5,), epochs=0)
    with pytest.raises(AnalysisError, match="reads no token ids"):
        token_stream(family.supernet, core.example_inputs)


def test_a_token_classifier_of_transformers_is_fitted_as_it_is(tmp_path: Path) -> None:
    hf: Any = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=20, id2label=dict(enumerate(NAMES)),
    )  # fmt: skip
    hf.BertForTokenClassification(config).eval().save_pretrained(tmp_path / "tagger")
    core, data = ct.load(f"hf:{tmp_path / 'tagger'}"), tagged()
    assert (core.task, core.class_names) == ("tagging", NAMES)
    family = ct.fit(core, data, data, points=(0.5,), epochs=8, learning_rate=0.01, optimizer="adamw", order="criterion")
    scores = {r.spec: r.value for r in family.records if r.metric == "span_f1" and r.spec != "core"}
    assert min(scores[point.spec.text] for point in family.points) > 0.6
    family.save(tmp_path / "tagger.concertina")
    ids = data.tensors[0][:4]
    again, small = ct.open(tmp_path / "tagger.concertina"), family.points[0].name
    assert torch.equal(again.view(small)(ids), family.view(small)(ids))
