"""A family that is no longer what it was made as is not written; what a view cannot do to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.family.subjects import digits, family, fresh

import concertina as ct
from concertina.errors import InputError, ViewError
from concertina.family import Family


def halved(made: Family) -> None:
    made.supernet.module.half()


def private_halved(made: Family) -> None:
    private = made.supernet.private["p20"]
    private.update({name: tensor.detach().half() for name, tensor in private.items()})


def cut(made: Family) -> None:
    made.supernet.module.get_submodule("stem.conv").weight.data = torch.zeros(3, 1, 3, 3)


def poisoned(made: Family) -> None:
    next(made.supernet.module.parameters()).data.view(-1)[0] = float("nan")


def private_poisoned(made: Family) -> None:
    next(t for t in made.supernet.private["p20"].values()).data.view(-1)[0] = float("inf")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (halved, r"'[\w.]+' of float16 .* instead of float32"),
        (private_halved, r"of float16 .* instead of float32 .* \(private to 'p20'\)"),
        (cut, r"'stem.conv.weight' of float32 \(3, 1, 3, 3\) instead of"),
        (poisoned, "with NaN or infinite values"),
        (private_poisoned, r"NaN or infinite values \(private to 'p20'\)"),
    ],
)
def test_a_family_with_harmed_tensors_is_not_saved(tmp_path: Path, harm: object, words: str) -> None:
    made = fresh()
    harm(made)  # type: ignore[operator]
    with pytest.raises(InputError, match=words):
        made.save(tmp_path / "f.concertina")
    assert not (tmp_path / "f.concertina").exists()


def test_what_a_view_refuses_leaves_the_family_and_its_file_as_they_were(tmp_path: Path) -> None:
    family().save(tmp_path / "before.concertina")
    opened = ct.open(tmp_path / "before.concertina")
    view, inputs = opened.at(0.2), digits().inputs[:4]
    before = view(inputs)
    for change in (view.half, view.double, view.requires_grad_, lambda: view.to(torch.bfloat16)):
        with pytest.raises(ViewError, match="materialize"):
            change()
    copy = view.materialize().half()  # type: ignore[operator]
    assert copy(inputs.half()).dtype == torch.float16
    assert torch.equal(opened.at(0.2)(inputs), before)
    opened.save(tmp_path / "after.concertina")
    assert (tmp_path / "after.concertina").read_bytes() == (tmp_path / "before.concertina").read_bytes()


def test_looking_at_a_view_between_two_steps_does_not_stop_its_training() -> None:
    def trained(*, looking: bool) -> dict[str, torch.Tensor]:
        made = fresh()
        trainer = ct.Trainer(made.supernet, made.task, steps=2)
        for _ in range(2):
            if looking:
                made.at(0.2)(digits().inputs[:2])
            trainer.step(tuple(tensor[:32] for tensor in digits().tensors))
        return made.supernet.private["p20"]

    plain, watched = trained(looking=False), trained(looking=True)
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
