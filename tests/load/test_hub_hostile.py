"""What a folder or a file may not do: run code, read pickles, fetch kernels, build without end; and plain mistakes."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.load.hub_folders import changed, image_classifier, text_classifier

import concertina as ct
from concertina.errors import ExtraError, LoadError
from concertina.load import LIBRARIES
from concertina.load.hub.config import as_data

hf = pytest.importorskip("transformers")
CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"architectures": ["DetrForObjectDetection"]}, r"class 'DetrFor.*allowed: image classifiers.*ct\.load\(module"),
    ({"architectures": ["os.system"]}, "no rule for the class"),
    ({"architectures": ["ResNetModel"]}, "no rule for the class"),
    ({"architectures": ["TimmWrapperForImageClassification"]}, "no rule for the class"),
    ({"architectures": ["ViTForImageClassification"]}, "model_type of ViTForImageClassification: got 'resnet'"),
    ({"architectures": ["Evil"], "auto_map": {"AutoModel": "evil.Evil"}}, "code in the folder, which is never run"),
    ({"architectures": None}, "names no architectures"),
    ({"architectures": [["x"]]}, "no rule for the class"),
    ({"hidden_sizes": [8, 32]}, "do not belong to ResNetForImageClassification"),
    ({"id2label": {"0": "a", "1": "b", "2": "c", "3": "d"}}, "do not belong to ResNetForImageClassification"),
    ({"id2label": {"0": "a"}, "label2id": {"a": 0}}, "one output"),
    ({"id2label": {"x": "a", "y": "b"}}, "id2label"),
    ({"id2label": {"1": "a", "2": "b", "3": "c"}}, "class numbers from 0 on"),
    ({"problem_type": "multi_label_classification"}, "multi_label"),
    ({"is_encoder_decoder": True}, "an encoder and a decoder"),
    ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
    ({"backbone": "somebody/else"}, "backbone"),
    ({"embedding_size": "wide"}, "embedding_size"),
    ({"embedding_size": -1}, "cannot be built"),
    ({"embedding_size": 10**12}, "whole numbers up to"),
    ({"hidden_sizes": [8, 10**7]}, "values; allowed: up to"),
    ({"nested": [[[[[[[[1]]]]]]]]}, "short texts, numbers and lists"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sound folder; do not change it."""
    return image_classifier(hf, tmp_path_factory.mktemp("hub") / "shapes")


@pytest.mark.parametrize(("change", "says"), CHANGES, ids=lambda value: str(value)[:40])
def test_a_configuration_that_no_rule_fits_is_refused(
    change: dict[str, Any], says: str, shapes: Path, tmp_path: Path
) -> None:
    folder = changed(shutil.copytree(shapes, tmp_path / "net"), **change)
    with pytest.raises(LoadError, match=says):
        ct.load(f"hf:{folder}")


def test_a_network_of_endless_layers_is_refused_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.import_module("concertina.load.hub.base"), "MAX_PARTS", 500)
    folder = changed(image_classifier(hf, tmp_path), depths=[1, 10**6])
    with pytest.raises(LoadError, match="over 500 modules and tensors"):
        ct.load(f"hf:{folder}")


def test_code_of_a_folder_is_never_run(tmp_path: Path) -> None:
    folder = image_classifier(hf, tmp_path / "net")
    mark = tmp_path / "was_here"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nResNet = Config = None\n")
    changed(folder, auto_map={"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.ResNet"})
    changed(
        folder, _attn_implementation="somebody/kernel", attn_implementation="somebody/kernel", fusion_config={"a": 1}
    )
    core = ct.load(f"hf:{folder}")
    assert not mark.exists()
    assert not {"auto_map", "attn_implementation", "_attn_implementation", "fusion_config"} & set(
        core.arguments["config"]
    )


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["EVIL"],)


def test_pickles_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIL", str(tmp_path / "was_here"))
    folder = image_classifier(hf, tmp_path / "net")
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(LoadError, match=r"a pickle, which could run code and is never read: got pytorch_model\.bin"):
        ct.load(f"hf:{folder}")
    changed(folder, transformers_weights="pytorch_model.bin")
    with pytest.raises(LoadError, match="a pickle"):
        ct.load(f"hf:{folder}")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../pytorch_model.bin"}}))
    with pytest.raises(LoadError, match=r"allowed: safetensors files beside it"):
        ct.load(f"hf:{folder}")
    assert not (tmp_path / "was_here").exists()


def test_weights_that_lack_a_part_are_refused_and_not_drawn(tmp_path: Path) -> None:
    folder = text_classifier(hf, tmp_path)
    hf.BertModel.from_pretrained(folder).save_pretrained(folder)
    changed(folder, architectures=["BertForSequenceClassification"])
    with pytest.raises(LoadError, match=r"missing or of another shape: 'classifier\.bias', 'classifier\.weight'"):
        ct.load(f"hf:{folder}")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "names no network"),
        ("/no/such/folder", "is not there"),
        ("../x", "is not there"),
        ("a b", "is not there"),
        ("a/b/c", "is not there"),
        ("{file}", "is a file"),
        ("{empty}", "no config.json"),
        ("{adapter}", "holds an adapter"),
        ("{broken}", "no sound JSON"),
        ("{list}", "a JSON object"),
        ("{timm}", "Load it with 'timm:NAME'"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(name: str, says: str, tmp_path: Path) -> None:
    places = {key: tmp_path / key for key in ("empty", "adapter", "broken", "list", "timm")}
    for place in places.values():
        place.mkdir()
    (places["adapter"] / "adapter_config.json").write_text("{}")
    (places["broken"] / "config.json").write_text("{not")
    (places["list"] / "config.json").write_text("[1]")
    (places["timm"] / "config.json").write_text('{"architecture": "resnet18"}')
    (tmp_path / "file").write_text("x")
    with pytest.raises(LoadError, match=says):
        ct.load(f"hf:{name.format(file=tmp_path / 'file', **places)}")


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = image_classifier(hf, tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ExtraError, match=r"'hf:' need a package.*got transformers.*concertina-nn\[hf\]"):
        ct.load(f"hf:{folder}")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ExtraError, match=r"got huggingface_hub.*concertina-nn\[hf\]"):
        ct.load("hf:somebody/shapes")


def test_arguments_of_a_file_build_no_more_than_load_made(tmp_path: Path) -> None:
    library = LIBRARIES.get("hf")()
    good = dict(ct.load(f"hf:{image_classifier(hf, tmp_path)}").arguments)
    config = good["config"]
    hostile: list[tuple[object, str]] = [
        ({}, "arguments of an 'hf:' network"),
        (good | {"code": "x"}, "arguments of an 'hf:' network"),
        (good | {"pooling": ["mean"]}, "arguments of an 'hf:' network"),
        (good | {"class": "Trainer"}, "no rule for the class"),
        (good | {"class": 7}, "no rule for the class"),
        (good | {"config": None}, "more than plain sizes"),
        (good | {"config": config | {"auto_map": {"AutoModel": "a.B"}}}, "more than plain sizes"),
        (good | {"config": config | {"_attn_implementation": "a/b"}}, "more than plain sizes"),
        (good | {"config": config | {"output_attentions": True}}, "more than plain sizes"),
        (good | {"config": config | {"model_type": "vit"}}, "model_type"),
    ]
    for arguments, says in hostile:
        with pytest.raises(LoadError, match=says):
            library.build(arguments)  # type: ignore[arg-type]
    with pytest.raises(LoadError, match="up to 100"):
        library.build(good, most=100)


def test_a_configuration_as_data_is_as_data_already() -> None:
    once = as_data({"a": (1, 2.5, None), "b": {"_c": 1, "d": "x"}, "auto_map": {}, "use_cache": True})
    assert once["a"] == [1, 2.5, None]
    assert once["b"] == {"d": "x"}
    assert once["use_cache"] is False
    assert as_data(once) == once
