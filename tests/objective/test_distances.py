"""Distances for distillation: what they are zero on, what they equal, and the evidence they carry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from concertina.objective import DISTANCES


def vectors(seed: int, rows: int = 5, columns: int = 4) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", DISTANCES.names())
@given(seed=st.integers(0, 99), temperature=st.floats(0.25, 8))
def test_a_distance_is_zero_on_the_teacher_positive_elsewhere_and_spares_it(
    name: str, seed: int, temperature: float
) -> None:
    distance = DISTANCES.get(name)
    student, teacher = vectors(seed).requires_grad_(), vectors(seed + 1000).requires_grad_()
    assert distance(teacher, teacher, temperature).detach().tolist() == pytest.approx([0] * len(teacher), abs=1e-12)
    values = distance(student, teacher, temperature)
    assert values.shape == (len(student),)
    assert bool((values.detach() > 0).all())
    values.sum().backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert bool(student.grad.any())


@given(st.integers(0, 99), st.floats(0.5, 5))
def test_kl_equals_its_definition(seed: int, temperature: float) -> None:
    student, teacher = vectors(seed), vectors(seed + 1)
    total = 0.0
    for own, target in zip(student / temperature, teacher / temperature, strict=True):
        p, q = target.softmax(0).tolist(), own.softmax(0).tolist()
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    value = DISTANCES.get("kl")(student, teacher, temperature)
    assert float(value.mean()) == pytest.approx(total / len(student) * temperature**2)


def test_kl_takes_every_position_of_a_sequence_alike() -> None:
    student, teacher = vectors(0, 6), vectors(1, 6)
    flat = DISTANCES.get("kl")(student, teacher, 1.0)
    assert torch.allclose(DISTANCES.get("kl")(student.view(2, 3, 4), teacher.view(2, 3, 4), 1.0), flat)


def test_distillation_carries_the_id_of_its_method() -> None:
    assert DISTANCES.entry("kl").methods == ("004-271",)
    assert all("arxiv" in entry.source.lower() for entry in DISTANCES)
