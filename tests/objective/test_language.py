"""The language task: the next token, padding left out, figures of which less is better."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from concertina.errors import DataError, InputError
from concertina.objective import TASKS, Language

IDS = torch.tensor([[1, 2, 3, 4], [4, 3, -1, -1], [2, 2, 2, -100]])
"""Nine tokens and padding: 3, 1 and 2 of them are foretold."""


def logits(vocabulary: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(*IDS.shape, vocabulary, generator=torch.Generator().manual_seed(seed))


def right(vocabulary: int = 5) -> Tensor:
    """Return logits that foretell every token of `IDS` nearly for sure."""
    following = torch.cat([IDS[:, 1:], IDS[:, :1]], dim=1).clamp_min(0)
    return 50 * F.one_hot(following, vocabulary).float()


def figures(outputs: Tensor, ids: Tensor = IDS) -> dict[str, float]:
    task = Language()
    return {record.metric: record.value for record in task.summarise(task.observe(outputs, (ids,)))}


def test_it_is_registered_and_less_of_its_metric_is_better() -> None:
    assert TASKS.get("language") is Language
    assert (Language.metric.name, Language.metric.direction) == ("perplexity", "min")


def test_the_network_sees_no_negative_id_and_keeps_its_other_inputs() -> None:
    mask = torch.ones(3, 4)
    ids, same = Language().inputs((IDS, mask))
    assert ids.tolist() == [[1, 2, 3, 4], [4, 3, 0, 0], [2, 2, 2, 0]]
    assert same is mask


def test_the_loss_is_that_of_the_next_tokens_and_padding_has_none() -> None:
    outputs = logits()
    places = [(0, 0, 2), (0, 1, 3), (0, 2, 4), (1, 0, 3), (2, 0, 2), (2, 1, 2)]
    wanted = -sum(float(outputs[row, place].log_softmax(-1)[token]) for row, place, token in places) / 6
    assert float(Language().loss(outputs, (IDS,))) == pytest.approx(wanted, rel=1e-5)
    assert figures(outputs)["loss"] == pytest.approx(wanted, rel=1e-5)
    changed = outputs.clone()
    changed[0, 3], changed[1, 1:], changed[2, 2:] = 7.0, -7.0, 3.0
    assert float(Language().loss(changed, (IDS,))) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("vocabulary", "bits"), [(5, "bits_per_token"), (256, "bits_per_byte")])
def test_a_network_that_knows_nothing_is_as_unsure_as_there_are_tokens(vocabulary: int, bits: str) -> None:
    found = figures(torch.zeros(3, 4, vocabulary))
    assert found["perplexity"] == pytest.approx(vocabulary)
    assert found[bits] == pytest.approx(math.log2(vocabulary))


def test_figures_of_a_network_that_knows_all_and_of_one_that_is_always_wrong() -> None:
    assert figures(right())["perplexity"] == pytest.approx(1)
    assert figures(right())["next_token_accuracy"] == 1
    worst = figures(-1e6 * right())
    assert math.isfinite(worst["perplexity"])
    assert worst["next_token_accuracy"] == 0


def test_intervals_rest_on_samples_and_hold_the_value() -> None:
    task = Language()
    records = task.summarise(task.observe(logits(), (IDS,)))
    assert {(record.metric, record.unit, record.n) for record in records} == {
        ("perplexity", "choices", 3),
        ("bits_per_token", "bits", 3),
        ("next_token_accuracy", "share", 3),
        ("loss", "nats", 3),
    }
    assert all(record.low is not None and record.low < record.value < (record.high or 0) for record in records[:2])
    [alone, *_] = task.summarise(task.observe(logits()[:1], (IDS[:1],)))
    assert (alone.low, alone.high, alone.n) == (None, None, 1)


def test_intervals_are_about_as_wide_as_perplexity_strays() -> None:
    generator, found, inside = torch.Generator().manual_seed(0), [], 0
    for _ in range(200):
        nats = torch.rand(50, generator=generator) * 20 + 10
        tokens = torch.randint(5, 20, (50,), generator=generator)
        rows = {"nats": nats, "tokens": tokens, "correct": tokens, "vocabulary": torch.full((50,), 9)}
        record = Language().summarise(rows)[0]
        found.append(record)
        inside += (record.low or 0) <= math.exp(20 / 12) <= (record.high or 0)
    assert 180 <= inside <= 199


def test_distillation_leaves_padding_out() -> None:
    outputs, task = logits(), Language()
    changed = outputs.clone()
    changed[1, 2:] = 9.0
    assert float(task.distill(outputs, changed, (IDS,))) == pytest.approx(0, abs=1e-6)
    changed[0, 3] += torch.arange(5.0)
    assert float(task.distill(outputs, changed, (IDS,))) > 0.01


def test_evaluation_without_tokens_is_refused() -> None:
    rows = {name: torch.zeros(0) for name in ("nats", "tokens", "correct", "vocabulary")}
    with pytest.raises(DataError, match="without tokens"):
        Language().summarise(rows)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((), "batch of a language task: got 0 parts"),
        ((IDS.float(),), "token ids of a batch: got torch.float32"),
        ((IDS[0],), r"token ids of a batch: got torch.int64 of shape \(4,\)"),
        ((IDS, torch.ones(2, 4)), r"parts of a batch: got \[3, 2\] rows"),
        ((IDS[:, :1],), "tokens of a sample: got 1; allowed: 2 or more"),
        ((torch.tensor([[1, 2], [3, -1]]),), "tokens of a sample: got 1"),
        ((torch.tensor([[1, 2, -1, 4]]),), "padding of a batch: got before tokens"),
    ],
)
def test_batches_that_cannot_be_used_are_named(batch: tuple[Tensor, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Language().check(batch)


def test_outputs_that_do_not_fit_are_named() -> None:
    with pytest.raises(DataError, match=r"outputs of a language network: got shape \(3, 4\)"):
        Language().loss(torch.zeros(3, 4), (IDS,))
    with pytest.raises(DataError, match="token ids: got 4; allowed: 0 to 3"):
        Language().observe(torch.zeros(3, 4, 4), (IDS,))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_names": ("a",)}, "class names of a language task"),
        ({"augment": "shift"}, "augmentation of a language task: got 'shift'"),
        ({"temperature": 0.0}, "temperature of distillation"),
        ({"distance": "far"}, "distance"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Language(**options)  # type: ignore[arg-type]
