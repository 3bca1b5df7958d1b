"""The contract suite itself can fail: a broken axis, order or family is caught."""

from __future__ import annotations

import pytest
import torch

import concertina as ct
from concertina.axes.width import Width
from concertina.nest import named_tensors
from concertina.testing import CHECKS, ContractError, make_subject


def test_a_changed_weight_is_caught() -> None:
    subject = make_subject(ct.load("zoo:mlp"))
    with torch.no_grad():
        next(iter(named_tensors(subject.supernet.module).values())).add_(0.1)
    with pytest.raises(ContractError, match="full subnet and core"):
        CHECKS["full-is-core"](subject, "width")


def test_an_order_that_is_no_permutation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = make_subject(ct.load("zoo:mlp"))
    order = Width.order

    def twice(self: Width, *args: object) -> dict[str, torch.Tensor]:
        return {name: torch.zeros_like(o) for name, o in order(self, *args).items()}  # type: ignore[arg-type]

    monkeypatch.setattr(Width, "order", twice)
    with pytest.raises(ContractError, match="no permutation"):
        CHECKS["order-is-permutation"](subject, "width")


def test_a_view_with_storage_of_its_own_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = make_subject(ct.load("zoo:mlp"))
    view = Width.view

    def copied(self: Width, *args: object) -> dict[str, torch.Tensor]:
        return {name: t.clone() for name, t in view(self, *args).items()}  # type: ignore[arg-type]

    monkeypatch.setattr(Width, "view", copied)
    with pytest.raises(ContractError, match="storage of their own"):
        CHECKS["view-is-extract"](subject, "width")
