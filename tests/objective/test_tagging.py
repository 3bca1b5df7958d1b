"""The tagging task: one class for each token, spans of them as figures."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from concertina.errors import DataError, InputError
from concertina.objective import TASKS, Tagging
from concertina.objective.spans import is_bio, spans_of

BIO = ("O", "B-place", "I-place", "B-person", "I-person")
IDS = torch.arange(10).reshape(2, 5) + 1
TAGS = torch.tensor([[-100, 1, 2, 0, 3], [0, 3, 4, -1, -100]])
"""A place of two words and a person; a person of two words, then what is not judged."""


def saying(tags: Tensor, classes: int = 5) -> Tensor:
    """Return logits that say certain tags nearly for sure, and the first class where none is."""
    return 30 * F.one_hot(tags.clamp_min(0), classes).float()


def figures(outputs: Tensor, tags: Tensor = TAGS, names: tuple[str, ...] = BIO) -> dict[str, float]:
    task = Tagging(names)
    return {record.metric: record.value for record in task.summarise(task.observe(outputs, (IDS, tags)))}


def test_it_is_registered_and_its_figure_follows_from_the_names_of_the_tags() -> None:
    assert TASKS.get("tagging") is Tagging
    assert Tagging(BIO).metric.name == "span_f1"
    assert {Tagging(names).metric.name for names in ((), ("noun", "verb"))} == {"token_accuracy"}


def test_right_answers_are_whole_whatever_stands_where_nothing_is_judged() -> None:
    said = saying(TAGS)
    said[1, 3:] = torch.randn(2, 5)
    found = figures(said)
    assert {found[name] for name in ("span_f1", "span_precision", "span_recall", "token_accuracy")} == {1.0}
    assert found["loss"] < 1e-6


def test_a_span_counts_only_as_a_whole() -> None:
    said = TAGS.clone()
    said[0, 2] = 0  # the place ends a word too early: its tokens are mostly right, it is not
    found = figures(saying(said))
    assert (found["span_f1"], found["span_precision"], found["span_recall"]) == pytest.approx((2 / 3,) * 3)
    assert found["token_accuracy"] == pytest.approx(6 / 7)
    nothing = figures(saying(torch.zeros_like(TAGS)))
    assert (nothing["span_f1"], nothing["span_precision"], nothing["span_recall"]) == (0, 0, 0)


def test_loss_and_distance_are_over_the_judged_tokens_alone() -> None:
    outputs, teacher = torch.randn(2, 5, 5), torch.randn(2, 5, 5)
    task, judged = Tagging(BIO), TAGS >= 0
    assert task.loss(outputs, (IDS, TAGS)) == pytest.approx(float(F.cross_entropy(outputs[judged], TAGS[judged])))
    moved = torch.where(judged[..., None], outputs, outputs + 1000 * torch.rand(5))
    for ours in (outputs, moved):
        assert task.distill(ours, teacher, (IDS, TAGS)) == pytest.approx(
            float(F.kl_div(outputs[judged].log_softmax(-1), teacher[judged].softmax(-1), reduction="batchmean")),
            rel=1e-4,
        )
    padded = torch.where(judged, IDS, 0)
    unlabelled = task.distill(outputs, teacher, (padded, torch.zeros(2)))
    assert unlabelled == pytest.approx(float(task.distill(outputs, teacher, (IDS, TAGS))))


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ((IDS,), "1 parts"),
        ((IDS, TAGS.float()), "int64"),
        ((IDS, TAGS[:, :3]), r"\(2, 5\)"),
        ((IDS, TAGS + 3), "tags out of range"),
    ],
)
def test_what_are_no_tags_is_told(batch: tuple[Tensor, ...], says: str) -> None:
    with pytest.raises(DataError, match=says):
        Tagging(BIO).check(batch)
    Tagging(BIO).check((IDS, TAGS))


def test_networks_and_options_that_do_not_fit_are_told() -> None:
    with pytest.raises(DataError, match="outputs of a tagging network"):
        Tagging(BIO).loss(torch.randn(2, 5), (IDS, TAGS))
    with pytest.raises(DataError, match="tags out of range"):
        Tagging().observe(torch.randn(2, 5, 3), (IDS, TAGS))
    with pytest.raises(DataError, match="without tokens"):
        figures(torch.randn(2, 5, 5), torch.full_like(TAGS, -100))
    with pytest.raises(InputError, match="augmentation of a tagging task: got 'flip'"):
        Tagging(BIO, augment="flip")
    with pytest.raises(InputError, match="temperature"):
        Tagging(BIO, temperature=0.0)


@given(st.lists(st.sampled_from(BIO), max_size=12))
def test_spans_hold_just_the_tokens_that_are_tagged(tags: list[str]) -> None:
    spans = sorted(spans_of(tags))
    covered = [place for start, end, _ in spans for place in range(start, end)]
    assert covered == [place for place, tag in enumerate(tags) if tag != "O"]
    assert all(tags[place][2:] == kind for start, end, kind in spans for place in range(start, end))
    assert sum(tag.startswith("B-") for tag in tags) <= len(spans)


def test_what_is_no_bio_scheme_has_no_spans() -> None:
    assert not any(map(is_bio, ((), ("O",), ("B-a", "I-a"), ("O", "a"), ("O", "B-"))))
