"""Statistics: the core's own without training, a user's data by spec and data, and augmented as in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.family.subjects import digits, family, fresh

import concertina as ct
from concertina.errors import DataError, PointError
from concertina.family.samples import calibration_batches
from concertina.nest import norm_tensors
from concertina.save import open_artifact, write_artifact


def differs(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    inputs = digits().inputs[:16]
    return not torch.equal(a(inputs), b(inputs))


def test_without_training_the_full_point_keeps_the_core_s_own_statistics() -> None:
    core, made = ct.load("zoo:digits-cnn"), fresh()
    inputs = digits("validation").inputs
    with torch.no_grad():
        assert torch.allclose(made.at(1.0)(inputs), core.module(inputs), atol=1e-4)
    own, theirs = (dict(net.named_buffers()) for net in (made.at(1.0), core.module))
    for name in set(norm_tensors(core.module)) & own.keys():
        assert torch.equal(own[name].sort().values, theirs[name].sort().values)
    assert dict(made.points[-1].metrics) == made.points.core


def test_a_calibrated_subnet_depends_on_its_data_and_on_nothing_asked_before() -> None:
    made = fresh()
    first, second = digits().subset(range(150)), digits().subset(range(150, 300))
    a, b = made.at(0.37, calibrate=first), made.at(0.37, calibrate=second)
    assert differs(a, b)
    assert made.at(0.37, calibrate=first) is a
    assert not differs(fresh().at(0.37, calibrate=second), b)
    with pytest.raises(DataError, match="data: got int"):
        made.at(0.37, calibrate=3)


def test_a_calibrated_subnet_is_no_operating_point(tmp_path: Path) -> None:
    made = fresh()
    names = [point.name for point in made.points]
    small = made.at(0.37, calibrate=digits())
    assert [point.name for point in made.points] == names
    assert made.at(0.37) is made.at(point="p20")
    assert made.at(0.37) is not small
    made.save(tmp_path / "f.concertina")
    assert [point.name for point in ct.open(tmp_path / "f.concertina").points] == names


def test_kept_subnets_join_the_dial_and_the_file_with_their_figures(tmp_path: Path) -> None:
    made = fresh()
    mixed = made.supernet.order.spec(9).with_choice(
        made.supernet.space.dims[-1].name, made.supernet.space.dims[-1].original
    )
    extra = made.keep(made.supernet.space.check(mixed), calibrate=digits(), name="mixed")
    new = made.keep(0.37, calibrate=digits(), validation=digits("validation"))
    assert new.share <= 0.37
    assert "accuracy" in dict(new.metrics)
    assert not extra.metrics
    assert made.choose(0.37) == new
    assert made.at(new.spec) is made.at(0.37, calibrate=digits()) or not differs(
        made.at(new.spec), made.at(0.37, calibrate=digits())
    )
    made.save(tmp_path / "f.concertina")
    opened = ct.open(tmp_path / "f.concertina")
    inputs = digits().inputs[:16]
    for name in (new.name, "mixed"):
        assert torch.equal(made.view(name)(inputs), opened.view(name)(inputs))
    with pytest.raises(PointError, match="operating point already: 'mixed'"):
        made.keep(extra.spec, calibrate=digits())
    with pytest.raises(PointError, match="name of a new point: got 'mixed'"):
        made.keep(0.5, calibrate=digits(), name="mixed")


def test_an_operating_point_calibrated_anew_stays_as_it_was() -> None:
    made = fresh(epochs=1)
    before = made.at(point="p20")(digits().inputs[:16])
    other = made.at(point="p20", calibrate=digits().subset(range(40)))
    assert differs(other, made.at(point="p20"))
    assert torch.equal(made.at(point="p20")(digits().inputs[:16]), before)
    full = made.at(1.0)(digits().inputs[:16])
    assert differs(made.at(1.0, calibrate=digits().subset(range(40))), made.at(1.0))
    assert torch.equal(made.at(1.0)(digits().inputs[:16]), full)


def test_calibration_takes_inputs_without_labels() -> None:
    made = fresh()
    alone = made.at(0.37, calibrate=[(digits().inputs,)])
    assert not differs(alone, made.at(0.37, calibrate=digits()))


def test_calibration_after_opening_augments_as_training_did(tmp_path: Path) -> None:
    made = fresh(augment="shift")
    made.save(tmp_path / "f.concertina")
    assert open_artifact(tmp_path / "f.concertina").manifest.augment == "shift"
    opened = ct.open(tmp_path / "f.concertina")
    assert opened.core.augment == opened.task.augmentation == "shift"
    assert not differs(opened.at(0.37, calibrate=digits()), made.at(0.37, calibrate=digits()))
    plain = fresh(augment="none")
    batch, other = (calibration_batches(each.task, digits())[0][0] for each in (opened, plain))
    assert not torch.equal(batch, other)


@pytest.mark.parametrize(("stored", "used"), [("", "shift"), ("not-known-here", "none"), ("flip-crop", "flip-crop")])
def test_files_that_say_nothing_or_too_much_of_augmentation_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stored: str, used: str
) -> None:
    fresh().save(tmp_path / "f.concertina")
    artifact = open_artifact(tmp_path / "f.concertina")
    content = artifact.read()
    manifest = replace(artifact.manifest, augment=stored)
    write_artifact(tmp_path / "g.concertina", manifest, content.tensors, content.private, {})
    assert ct.open(tmp_path / "g.concertina").task.augmentation == used
    assert ("'not-known-here' is not known here" in caplog.text) == (stored == "not-known-here")


def test_what_calibrates_must_fit_the_network() -> None:
    for data, words in (
        ([(torch.randn(8, 1, 9, 9), torch.arange(8))], "fit the network"),
        ([(torch.randn(8, 1, 8, 8), torch.randn(8, 3), torch.arange(8))], "fields of a sample: got 3; allowed: 2"),
        ([(torch.randn(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64))], "two samples|2 or more"),
    ):
        with pytest.raises(DataError, match=words):
            family().at(0.37, calibrate=data)
