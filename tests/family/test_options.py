"""What is asked of `fit`, `prepare` and `open` in odd ways is refused by name, before anything slow is done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.family.subjects import digits, family
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

import concertina as ct
from concertina.errors import DataError, InputError, LoadError
from concertina.family import options
from concertina.family.given import taken
from concertina.family.options import FitOptions
from concertina.load.data import ArrayData
from concertina.objective import Classification

ODD: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 50}, r"unknown option: got 'epoch'; allowed: augment, average, .*\. Did you mean 'epochs'\?"),
    ({"lr": 0.1}, "unknown option: got 'lr'; .* Did you mean 'learning_rate'"),
    ({"bs": 8}, "Did you mean 'batch_size'"),
    ({"ignore": 3}, "option ignore: got 3; allowed: paths of modules and names of groups"),
    ({"ignore": [3]}, "option ignore"),
    ({"groups": "mix"}, "option groups: got 'mix'; allowed: a list of concertina.group"),
    ({"groups": [3]}, "option groups"),
    ({"recipie": "sandwich"}, "Did you mean 'recipe'"),
    ({"epochs": "4"}, "option epochs: got '4'; allowed: 0 to 1,000,000"),
    ({"epochs": float("inf")}, "option epochs: got inf; allowed: 0 to"),
    ({"epochs": float("nan")}, "option epochs: got nan"),
    ({"epochs": None}, "option epochs: got None"),
    ({"epochs": True}, "option epochs: got True"),
    ({"epochs": -1}, "option epochs: got -1"),
    ({"batch_size": 2.5}, "option batch_size: got 2.5; allowed: 2 or more"),
    ({"batch_size": 1}, "option batch_size: got 1; allowed: 2 or more"),
    ({"learning_rate": 0}, "option learning_rate: got 0; allowed: above 0"),
    ({"learning_rate": "fast"}, "option learning_rate: got 'fast'"),
    ({"seed": -1}, "option seed: got -1; allowed: 0 to 4294967295"),
    ({"seed": 2**64}, "option seed: got 18446744073709551616"),
    ({"seed": 0.5}, "option seed: got 0.5"),
    ({"criterion": 3}, "unknown criterion: got 3; allowed: activation"),
    ({"criterion": "tailor"}, "Did you mean 'taylor'"),
    ({"recipe": None}, "unknown recipe: got None; allowed: fixed-list"),
    ({"augment": "flip"}, "unknown augmentation: got 'flip'; allowed: flip-crop"),
    ({"augment": 4}, "unknown augmentation: got 4"),
    ({"task": "classification"}, r"option task: got 'classification'; allowed: a Task, such as"),
    ({"task": Classification(), "augment": "shift"}, "option augment: got with task=; allowed: one of both"),
    ({"device": "gpu"}, r"option device: got 'gpu' \(.*\); allowed: cpu"),
    ({"device": 7.0}, "option device: got 7.0; allowed: a text"),
    ({"dtype": torch.bfloat16}, "option dtype: got torch.bfloat16; allowed: float32, bfloat16"),
    ({"optimizer": "adam"}, "option optimizer: got 'adam'; allowed: sgd, adamw"),
    ({"checkpoint": 3}, "option checkpoint: got 3; allowed: a path"),
    ({"resume": "yes"}, "option resume: got 'yes'; allowed: True or False"),
    ({"resume": True}, "option resume: got no checkpoint; allowed: together with checkpoint"),
    ({"progress": "bar"}, "option progress: got 'bar'; allowed: a function"),
    ({"points": 0.5}, r"points: got 0.5; allowed: shares .* such as \(0.25, 0.5, 1.0\)"),
    ({"points": "0.5"}, "points: got '0.5'"),
    ({"points": [None]}, "points: got None"),
    ({"points": ["0.5"]}, "points: got '0.5'"),
    ({"points": [0.5, 0.5]}, "points: got 0.5 twice; allowed: each share once"),
    ({"points": [1.5]}, "points: got 1.5"),
    ({"points": [float("nan")]}, "points: got nan"),
    ({"points": [0]}, "points: got 0; allowed"),
    ({"points": {0.5: 1, True: 2}}, "points: got True"),
]


@pytest.mark.parametrize(("odd", "words"), ODD, ids=[words for _, words in ODD])
def test_odd_options_are_refused_by_name_and_at_once(
    odd: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["concertina.family.fit"], "analyse", None)
    for make in (ct.fit, ct.prepare):
        with pytest.raises(InputError, match=words):
            make(ct.load("zoo:digits-cnn"), digits(), **odd)


def test_all_training_settings_are_options() -> None:
    assert set(ct.TrainSettings.__dataclass_fields__) <= set(FitOptions.__annotations__)


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 40

    def __iter__(self) -> Any:
        return ((digits().inputs[i], int(digits().labels[i])) for i in range(40))


def fingerprint_of(source: Any) -> str:
    core = ct.load("zoo:digits-cnn")
    return taken(source, core, Classification(core.class_names)).fingerprint


def test_samples_come_as_lists_streams_and_datasets_alike() -> None:
    inputs, labels = digits().inputs[:40], digits().labels[:40]
    pairs = [(inputs[i], int(labels[i])) for i in range(40)]
    wanted = ArrayData([inputs, labels]).fingerprint
    assert fingerprint_of(pairs) == wanted
    assert fingerprint_of(Stream()) == wanted
    assert fingerprint_of(TensorDataset(inputs, labels)) == wanted


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (TensorDataset(*[torch.randn(9, 1, 8, 8)] * 2, torch.arange(9)), "fields of a sample: got 3; allowed: 2"),
        ([torch.randn(1, 8, 8)] * 4, "a sample or batch of the data: got Tensor; allowed: a tuple"),
        (torch.randn(4, 1, 8, 8), "data: got Tensor; allowed: a torch Dataset"),
        ({"x": 1}, "data: got dict; allowed: a torch Dataset"),
        ("digits.npz", "data: got str; allowed: a torch Dataset"),
        ([(torch.randn(1, 8, 8), 1), (torch.randn(1, 8, 9), 1)], "differ in shape"),
        ([(torch.randn(4, 1, 8, 8), torch.tensor([0.5, 1, 2, 3]))], "labels of a batch: got torch.float32"),
        ([(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 10]))], "labels out of range: got 10; allowed: 0 to 9"),
        ([(torch.full((4, 1, 8, 8), torch.nan), torch.arange(4))], "NaN"),
    ],
)  # fmt: skip
def test_odd_data_is_refused_by_name(source: Any, words: str) -> None:
    for data, validation in ((source, None), (digits(), source)):
        with pytest.raises(DataError, match=words):
            ct.fit(ct.load("zoo:digits-cnn"), data, validation, epochs=0)


def test_augmentation_of_what_is_no_image_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["concertina.family.fit"], "analyse", None)
    data = ArrayData([digits().inputs.flatten(1), digits().labels])
    with pytest.raises(DataError, match=r"augmentation of images: got inputs of shape \(2, 64\).*augmentation 'none'"):
        ct.fit(ct.load("zoo:mlp"), data, augment="flip-crop")


def test_classes_without_samples_are_told(caplog: pytest.LogCaptureFixture) -> None:
    some = digits().subset([i for i in range(300) if int(digits().labels[i]) not in (3, 7)][:64])
    ct.fit(ct.load("zoo:mlp"), some, digits(), points=(0.5,), epochs=0, criterion="random")
    assert "the training data has no samples of 2 of 10 classes: 3, 7" in caplog.text
    assert "the validation data has no samples" not in caplog.text


def test_a_class_of_modules_is_no_module(tmp_path: Path) -> None:
    family().save(tmp_path / "f.concertina")
    with pytest.raises(LoadError, match=r"module=: got the class Linear; allowed: a module\. Give Linear\(\)\."):
        ct.open(tmp_path / "f.concertina", module=nn.Linear)  # type: ignore[arg-type]
    with pytest.raises(LoadError, match="module=: got str; allowed: your network"):
        ct.open(tmp_path / "f.concertina", module="mine")  # type: ignore[arg-type]
    with pytest.raises(LoadError, match=r"source of a core: got the class Linear; .* Give Linear\(\)\."):
        ct.load(nn.Linear, torch.randn(2, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"class_names": ["a", "b\x1b[31m"]}, r"class names: got 'b\\x1b\[31m'; allowed: texts without control"),
        ({"class_names": ["a", 2]}, "class names: got 2"),
        ({"class_names": ["a", "\ud800"]}, "class names"),
        ({"licence": "MIT\0"}, "licence: got"),
        ({"task": 3}, "task: got 3"),
        ({"preprocess": {"mean": 0}}, r"preprocess: got dict; allowed: a concertina.Preprocess"),
    ],
)
def test_facts_that_no_file_could_keep_are_refused_at_load(facts: dict[str, Any], words: str) -> None:
    with pytest.raises(LoadError, match=words):
        ct.load(nn.Sequential(nn.Linear(4, 2)), torch.randn(2, 4), **facts)


def test_names_with_tabs_and_letters_of_all_kinds_are_kept() -> None:
    assert ct.load(nn.Linear(4, 2), torch.randn(2, 4), class_names=["Katze", "犬\t"]).class_names[1] == "犬\t"


def test_auto_is_bfloat16_only_where_the_device_multiplies_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(options, "multiplies_bfloat16", lambda _device, native=native: native)
        assert options.train_settings({"dtype": "auto"}).dtype == expected
    assert options.train_settings({"dtype": "bfloat16"}).dtype == "bfloat16"


def test_what_was_kept_whole_is_asked_for_by_name_and_stands_in_the_file(tmp_path: Path) -> None:
    settings = {"points": (0.5, 1.0), "epochs": 0, "criterion": "magnitude-l1"}
    core = ct.load("zoo:digits-cnn")
    made = ct.fit(core, digits(), ignore=["stem.conv"], **settings)
    assert "width:stem.conv" not in made.supernet.space.by_name
    made.save(tmp_path / "whole.concertina")
    assert ct.open(tmp_path / "whole.concertina").evidence.provenance["kept whole"] == "stem.conv"
    with pytest.raises(ct.ConcertinaError, match=r"Did you mean 'stem\.conv'"):
        ct.fit(core, digits(), ignore=["stem.cone"], **settings)
