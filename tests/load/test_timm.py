"""Networks of timm, by a stand-in for the library: it needs torchvision, which is not asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch_pruning  # noqa: F401 - looks for the real library when it is imported, and must not find the stand-in
from safetensors.torch import load_file, save_file
from torch import nn

import concertina as ct
from concertina.errors import ExtraError, LoadError

CONFIG = {
    "architecture": "tiny", "num_classes": 3, "model_args": {"width": 6}, "label_names": ["a", "b", "a"],
    "pretrained_cfg": {"input_size": [3, 8, 8], "mean": [0.5] * 3, "std": [0.2] * 3, "license": "mit"},
}  # fmt: skip


class Tiny(nn.Sequential):
    def __init__(self, num_classes: int, width: int = 4) -> None:
        layers = nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
        super().__init__(*layers)


def create_model(
    model_name: str, pretrained: bool = False, checkpoint_path: str = "", num_classes: int = 1000, **more: Any
) -> nn.Module:
    assert not pretrained
    assert not checkpoint_path
    return Tiny(num_classes, **more)


@pytest.fixture(autouse=True)
def timm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made: Any = ModuleType("timm")
    made.create_model, made.list_models = create_model, lambda: ["tiny"]
    made.get_pretrained_cfg = lambda name: SimpleNamespace(hf_hub_id="timm/", architecture="tiny", tag="a1")
    monkeypatch.setitem(sys.modules, "timm", made)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file(Tiny(3, 6).state_dict(), tmp_path / "model.safetensors")
    return tmp_path


def test_a_folder_brings_its_facts_along(folder: Path) -> None:
    core = ct.load(f"timm:{folder}")
    assert (core.task, core.licence, core.class_names) == ("classification", "mit", ("a (0)", "b", "a (2)"))
    assert core.preprocess == ct.Preprocess(1 / 255, (0.5,) * 3, (0.2,) * 3)
    own = Tiny(3, 6)
    own.load_state_dict(load_file(folder / "model.safetensors"))
    assert torch.equal(core.module(core.example_inputs[0]), own(core.example_inputs[0]))


def test_a_family_of_it_is_built_from_data(folder: Path, tmp_path: Path) -> None:
    core = ct.load(f"timm:{folder}")
    data = torch.utils.data.TensorDataset(torch.randn(32, 3, 8, 8), torch.arange(32) % 3)
    family = ct.fit(core, data, points=(0.5, 1.0), epochs=0)
    family.save(tmp_path / "f.concertina")
    opened = ct.open(tmp_path / "f.concertina")
    assert torch.equal(opened.at(0.5)(core.example_inputs[0]), family.at(0.5)(core.example_inputs[0]))


def test_a_name_goes_through_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **_: asked.append(name) or str(folder))
    ct.load("timm:tiny")
    ct.load("timm:timm/tiny.a2")
    assert asked == ["timm/tiny.a1", "timm/tiny.a2"]
    with pytest.raises(LoadError, match=r"timm\.list_models"):
        ct.load("timm:resnet999")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architecture": "hf-hub:somebody/evil"}, "architecture of timm"),
        ({"architecture": 7}, "names no architecture"),
        ({"model_args": {"checkpoint_path": "evil.pth"}}, "got 'checkpoint_path'"),
        ({"model_args": {"pretrained": True}}, "got 'pretrained'"),
        ({"model_args": {"pretrained_cfg_overlay": {}}}, "got 'pretrained_cfg_overlay'"),
        ({"model_args": {"width": "x"}}, "cannot be built"),
        ({"model_args": [1]}, "allowed: an object"),
        ({"num_classes": -1}, "classes of"),
        ({"pretrained_cfg": {"input_size": [0, 1, 2]}}, "input_size"),
    ],
)
def test_what_could_reach_further_is_refused(change: dict[str, Any], says: str, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(LoadError, match=says):
        ct.load(f"timm:{folder}")


def test_a_missing_package_is_named_with_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ExtraError, match=r"'timm:' need a package.*concertina-nn\[timm\]"):
        ct.load(f"timm:{folder}")
