"""Checkpoints: early, rare, whole, and of the same run; the time of all legs adds up."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.train.interrupt import press_ctrl_c
from tests.train.test_recipes import SETTINGS, case, digits, supernet

import concertina as ct
from concertina.errors import ResumeError
from concertina.train import Trainer, train
from concertina.train.checkpoint import EVERY_S, FIRST_AFTER_S, MOST_OF_TIME, Rhythm


def trainer() -> Trainer:
    return Trainer(supernet(), case()[2], steps=6, settings=SETTINGS)


def stopped(path: Path) -> None:
    def halt(_stage: str, done: float) -> None:
        if 0.4 <= done < 1:  # a remark is done at once
            press_ctrl_c()

    with pytest.raises(KeyboardInterrupt, match="between two steps"):
        train(trainer(), digits(96), recipe="sandwich", checkpoint=path, progress=halt)


def test_a_checkpoint_with_any_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.fit"
    stopped(path)
    content, draw = path.read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(content[:8], "little")
    places = [draw.randrange(len(content)) for _ in range(40)] + [draw.randrange(header) for _ in range(40)]
    flipped = (content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :] for at in places)
    cut = (content[:length] for length in (0, 7, 8, 100, header, len(content) - 1))
    made, data = trainer(), digits(96)
    for damaged in (*flipped, *cut):
        path.write_bytes(damaged)
        with pytest.raises(ResumeError, match=r"damaged.*Start without --resume"):
            train(made, data, recipe="sandwich", checkpoint=path, resume=True)


def test_a_checkpoint_of_another_core_or_augmentation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.fit"
    stopped(path)
    other = supernet()
    with torch.no_grad():
        next(other.module.parameters()).mul_(1.001)
    with pytest.raises(ResumeError, match="core"):
        train(
            Trainer(other, case()[2], steps=6, settings=SETTINGS),
            digits(96),
            recipe="sandwich",
            checkpoint=path,
            resume=True,
        )
    task = ct.objective.TASKS.get("classification")(case()[0].class_names, augment="flip-crop")  # type: ignore[call-arg]
    with pytest.raises(ResumeError, match="augment: none then, flip-crop now"):
        train(
            Trainer(supernet(), task, steps=6, settings=SETTINGS),
            digits(96),
            recipe="sandwich",
            checkpoint=path,
            resume=True,
        )


def test_it_says_whether_it_goes_on_or_starts_anew(tmp_path: Path) -> None:
    path, said = tmp_path / "run.fit", []
    stopped(path)
    for place in (path, tmp_path / "other.fit"):
        train(
            trainer(),
            digits(96),
            recipe="sandwich",
            checkpoint=place,
            resume=True,
            progress=lambda stage, done: said.append((stage, done)),
        )
    assert ("going on at step 3 of 6", 1.0) in said
    assert (f"no checkpoint at {tmp_path / 'other.fit'}: starting anew", 1.0) in said


class Clock:
    """A clock that moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("cost", [0.001, 0.5, 8.0])
def test_the_first_checkpoint_comes_early_and_all_of_them_take_little_time(cost: float) -> None:
    clock, written = Clock(), []

    def write() -> None:
        written.append(clock.now)
        clock.now += cost

    rhythm = Rhythm(write, clock)
    while clock.now < 3600:
        clock.now += 0.01
        rhythm.write()
    assert FIRST_AFTER_S <= written[0] < 6
    assert len(written) * cost / clock.now < 0.05
    assert len(written) >= 3600 / (EVERY_S + cost / MOST_OF_TIME + cost) - 2


def test_small_steps_are_not_dominated_by_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concertina.train.checkpoint.EVERY_S", 0.0)
    monkeypatch.setattr("concertina.train.checkpoint.FIRST_AFTER_S", 0.0)
    spent = []

    def slow(*_: object) -> None:
        begun = time.monotonic()
        time.sleep(0.002)
        spent.append(time.monotonic() - begun)

    monkeypatch.setattr("concertina.train.loop.write_checkpoint", slow)
    made = Trainer(supernet(), case()[2], steps=30, settings=SETTINGS)
    train(made, digits(96), recipe="sandwich", checkpoint=tmp_path / "run.fit")
    assert 1 < len(spent) < 30
    assert sum(spent[1:-1]) < 0.05 * made.seconds_spent


def test_seconds_are_those_of_all_legs(tmp_path: Path) -> None:
    path, settings = tmp_path / "family.fit", replace(SETTINGS, epochs=2)
    core, _, _ = case()

    def slow(stage: str, done: float) -> None:
        if stage.startswith("training ("):
            time.sleep(0.3)
            if done >= 0.5:
                press_ctrl_c()

    options = {"points": (0.3,), "epochs": settings.epochs, "batch_size": 32, "criterion": "magnitude-l2"}
    with pytest.raises(KeyboardInterrupt, match="between two steps"):
        ct.fit(core, digits(128), checkpoint=path, progress=slow, **options)
    begun = time.monotonic()
    family = ct.fit(core, digits(128), checkpoint=path, resume=True, **options)
    last = time.monotonic() - begun
    assert float(family.evidence.provenance["seconds"]) >= last + 4 * 0.3 - 0.6
