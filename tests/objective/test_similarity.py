"""The embedding-similarity task: pairs through one network, ranking loss, rank correlation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from concertina.errors import DataError, InputError
from concertina.objective import TASKS, Similarity
from concertina.objective.similarity import cosent


class Encoder(nn.Module):
    """Mean of token vectors under a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return (self.embedding(ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def token_batch(a_tokens: int = 5, b_tokens: int = 3) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(1, 20, (6, n), generator=generator) for n in (a_tokens, b_tokens))
    return a, torch.ones_like(a), b, torch.ones_like(b), torch.linspace(0, 5, 6)


def test_it_is_registered_and_judged_by_spearman() -> None:
    assert TASKS.get("similarity") is Similarity
    assert (Similarity().metric.name, Similarity().metric.unit) == ("spearman", "correlation")


def test_pairs_pass_through_the_network_in_one_call() -> None:
    torch.manual_seed(0)
    encoder, task, batch = Encoder(), Similarity(), token_batch()
    task.check(batch)
    inputs = task.inputs(batch)
    assert [tuple(part.shape) for part in inputs] == [(12, 5), (12, 5)]
    together = encoder(*inputs)
    apart = torch.cat([encoder(*batch[:2]), encoder(*batch[2:4])])
    assert torch.allclose(together, apart, atol=1e-6)
    expected = torch.cosine_similarity(encoder(*batch[:2]), encoder(*batch[2:4]))
    assert torch.allclose(task.observe(together, batch)["similarity"], expected, atol=1e-6)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.integers(0, 99))
def test_cosent_equals_its_definition(scores: list[int], seed: int) -> None:
    cosines = torch.rand(len(scores), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    total = 1.0
    for i, score_i in enumerate(scores):
        for j, score_j in enumerate(scores):
            total += math.exp(20 * float(cosines[j] - cosines[i])) if score_i > score_j else 0.0
    assert float(cosent(cosines, torch.tensor(scores))) == pytest.approx(math.log(total), rel=1e-9, abs=1e-9)


def test_losses_fall_as_the_order_gets_right() -> None:
    right = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    wrong = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    batch = (torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([5.0, 0.0]))
    for task in (Similarity(), Similarity(loss="cosine", top_score=5.0)):
        assert float(task.loss(right, batch)) < 1e-6 < 1.0 <= float(task.loss(wrong, batch))


def test_gradients_are_finite_even_when_all_scores_are_equal() -> None:
    outputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = Similarity().loss(outputs, (torch.zeros(4, 1), torch.zeros(4, 1), torch.ones(4)))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert outputs.grad is not None
    assert not outputs.grad.any()


def test_distillation_takes_a_narrower_student() -> None:
    teacher = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    turned = teacher @ torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))[0]
    batch = token_batch()
    assert float(Similarity().distill(turned, teacher, batch)) == pytest.approx(0, abs=1e-6)
    assert float(Similarity().distill(teacher[:, :3], teacher, batch)) > 0.01
    assert float(Similarity(distance="cosine").distill(2 * teacher, teacher, batch)) == pytest.approx(0, abs=1e-6)


def test_figures() -> None:
    score = torch.arange(40.0)
    rows = {"similarity": score**3 / 40**3, "score": score}
    [record] = Similarity().summarise(rows)
    assert (record.metric, record.value, record.n, record.unit) == ("spearman", 1.0, 40, "correlation")
    assert record.low is not None
    assert 0.9 < record.low <= record.value <= (record.high or 0)
    loss = Similarity(loss="cosine", top_score=39).summarise(rows)[1]
    assert (loss.metric, loss.value) == (
        "loss",
        pytest.approx(float(((rows["similarity"] - score / 39) ** 2).mean()), rel=1e-5),
    )
    with pytest.raises(DataError, match="evaluation without pairs"):
        Similarity().summarise({"similarity": torch.zeros(0), "score": torch.zeros(0)})


def test_both_sides_are_augmented() -> None:
    images = torch.rand(8, 1, 8, 8)
    batch = (images, images, torch.ones(8))
    a, b, scores = Similarity(augment="shift").augment(batch, torch.Generator().manual_seed(0))
    assert not torch.equal(a, b)
    assert torch.equal(scores, batch[2])
    plain = Similarity().augment(batch, torch.Generator())
    assert all(torch.equal(x, y) for x, y in zip(plain, batch, strict=True))


IDS = torch.ones(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((IDS, IDS), "batch of pairs: got 2 parts; allowed: inputs of a, inputs of b, one score"),
        ((IDS, IDS, IDS, torch.ones(2)), "batch of pairs: got 4 parts"),
        ((IDS, IDS, torch.ones(2, dtype=torch.int64)), "scores of a batch: got torch.int64"),
        ((IDS, IDS, torch.tensor([1.0, math.nan])), "scores of a batch.*allowed: finite floats"),
        ((IDS, IDS[:1], torch.ones(2)), r"pairs of a batch: got \[2, 1, 2\] rows"),
        ((IDS, IDS.float(), torch.ones(2)), "sides of a batch differ in dtype"),
        ((torch.full((2, 3), math.inf), torch.ones(2, 3), torch.ones(2)), "inputs of a batch hold NaN"),
    ],
)
def test_batches_that_cannot_be_used_are_named(batch: tuple[Tensor, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Similarity().check(batch)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "triplet"}, "loss of a similarity task: got 'triplet'; allowed: cosent, cosine"),
        ({"top_score": 0.0}, "top score: got 0.0; allowed: above 0"),
        ({"class_names": ("a",)}, "class names of a similarity task: got 1; allowed: none"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Similarity(**options)  # type: ignore[arg-type]
