"""Modules leave with a point: merged into its weights where they can be, refused by name where they cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import concertina as ct
from concertina.cli import main
from concertina.errors import InputError
from concertina.load.data import ArrayData


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a family with a mergeable module, one with a head too, and one that adds computation."""
    core = ct.load("zoo:mlp")
    data = ct.open_data("zoo:digits@validation", preprocess=core.preprocess, class_names=core.class_names)
    owner = ct.fit(core, data, data, points=(0.25,), epochs=0)
    owner.adapt("dark", ArrayData((-data.inputs, data.labels), data.class_names), data, learning_rate=0.02, epochs=1)
    owner.adapt("parity", ArrayData((data.inputs, data.labels % 2), ("even", "odd")), epochs=0.2)
    owner.adapt("beside", data, kind="adapter", epochs=0.2)
    made = tmp_path_factory.mktemp("baked") / "digits.concertina"
    owner.save(made)
    return made


@pytest.fixture(scope="module")
def owner(path: Path) -> ct.Family:
    return ct.open(path)


def inputs() -> Tensor:
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def attached(owner: ct.Family, module: str) -> Tensor:
    with torch.inference_mode():
        return owner.with_modules("p25", module)(inputs())


def test_an_extract_holds_the_merged_weights_under_the_usual_names(
    owner: ct.Family, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["extract", str(path), "--point", "p25", "--with", "dark", "-o", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    weights, plan = (
        load_file(tmp_path / "out" / "model.safetensors"),
        json.loads((tmp_path / "out/slim.json").read_text()),
    )
    plain = owner.view("p25").state_dict()
    assert {name: tensor.shape for name, tensor in weights.items()} == {n: t.shape for n, t in plain.items()}
    assert not all(torch.equal(tensor, plain[name]) for name, tensor in weights.items())
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    assert torch.allclose(program(inputs()), attached(owner, "dark"), atol=1e-4)
    assert not torch.allclose(attached(owner, "dark"), owner.view("p25")(inputs()), atol=1e-3)
    assert plan["modules"] == "dark"
    measured = {r.value for r in owner.records if (r.metric, r.scope) == ("accuracy", "module dark")}
    assert told["accuracy"] in measured


def test_an_exported_file_answers_in_the_classes_of_the_module_with_a_head(owner: ct.Family, tmp_path: Path) -> None:
    made = owner.export(tmp_path / "x.onnx", point="p25", modules="parity")
    session = onnxruntime.InferenceSession(made.files[0], providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"x": inputs().numpy()})[0])
    assert found.shape == (3, 2)
    assert torch.allclose(found, attached(owner, "parity"), atol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["concertina.class_names"]) == ["even", "odd"]
    assert facts["concertina.modules"] == "parity"


def test_a_repository_for_triton_has_the_module_in_every_version(
    owner: ct.Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        "concertina.family.runtimes.export_triton", lambda points, *_, **more: given.update(points=points, **more)
    )
    owner.export_triton(tmp_path / "repository", "digits", modules="dark")
    measured = {r.spec: r.value for r in owner.records if (r.metric, r.scope) == ("accuracy", "module dark")}
    specs = {point.name: point.spec.text for point in owner.points}
    assert given["facts"]["modules"] == "dark"
    for each in given["points"]:
        assert each.figures["metrics"]["accuracy"] == measured[specs[each.point.name]]
        with torch.inference_mode():
            wanted = owner.with_modules(each.point.name, "dark")(inputs())
            assert torch.allclose(each.point.subnet(inputs()), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["extract", "--point", "p25", "--with", "beside", "-o", "out"], "kind adapter, which adds computation"),
        (["extract", "--point", "p25", "--with", "parity", "-o", "out"], "kind head, which adds computation"),
        (
            ["export", "--to", "onnx", "--point", "p25", "--with", "beside", "-o", "x.onnx"],
            "module 'beside', merged into",
        ),
        (["export", "--to", "triton", "--with", "beside", "-o", "out"], "allowed: changes of weights: "),
        (["export", "--to", "onnx", "--point", "p25", "--with", "darc", "-o", "x.onnx"], "Did you mean 'dark'"),
        (["export", "--to", "onnx", "--all-points", "--with", "dark", "-o", "out"], "--with: got with --all-points"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name_and_nothing_is_written(
    words: list[str],
    said: str,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([words[0], str(path), *words[1:]]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_plain_point_is_as_before(owner: ct.Family, tmp_path: Path) -> None:
    owner.extract(tmp_path / "out", point="p25")
    weights, plain = load_file(tmp_path / "out" / "model.safetensors"), owner.view("p25").state_dict()
    assert all(torch.equal(tensor, plain[name]) for name, tensor in weights.items())
    with pytest.raises(InputError, match="unknown module: got 'none'"):
        owner.extract(tmp_path / "out", point="p25", modules="none")
