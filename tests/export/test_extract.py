"""What `extract` writes loads where Concertina is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import concertina as ct
from concertina.cli import main
from concertina.errors import StorageError
from concertina.export import extract
from concertina.testing import Subject, make_subject

WITHOUT = textwrap.dedent(
    """
    import importlib.abc, sys

    class Absent(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("concertina", "torch_pruning"):
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, Absent())
    import torch
    from safetensors.torch import load_file

    folder = sys.argv[1]
    inputs = load_file(f"{folder}-inputs.safetensors")["inputs"]
    program = torch.export.load(f"{folder}/model.pt2").module()
    weights = load_file(f"{folder}/model.safetensors")
    stored = {name: tensor for name, tensor in program.state_dict().items()}
    for name, tensor in stored.items():
        assert torch.equal(tensor, weights[name]), name
    torch.save({"outputs": program(inputs), "one": program(inputs[:1])}, f"{folder}-outputs.pt")
    assert "concertina" not in sys.modules
    """
)


@pytest.fixture(scope="module", params=["zoo:digits-cnn", "zoo:mlp", "zoo:tiny-vit"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return make_subject(ct.load(request.param))


def test_an_extract_runs_in_an_environment_without_concertina(subject: Subject, tmp_path: Path) -> None:
    point = next(iter(subject.supernet.points.values()))
    view = subject.supernet.at_point(point.name)
    folder = tmp_path / "small"
    made = extract(view, subject.core.example_inputs, folder, space=subject.supernet.space, point=point, facts={})
    assert made.files == ("model.pt2", "model.safetensors", "slim.json")
    inputs = subject.inputs(4)[0].repeat(3, *[1] * (subject.core.example_inputs[0].dim() - 1))
    save_file({"inputs": inputs}, f"{folder}-inputs.safetensors")
    subprocess.run([sys.executable, "-c", WITHOUT, str(folder)], check=True, cwd=tmp_path)
    found = torch.load(f"{folder}-outputs.pt", weights_only=True)
    assert torch.allclose(found["outputs"], view(inputs), atol=1e-5)
    assert torch.allclose(found["one"], view(inputs[:1]), atol=1e-5)


def test_the_plan_says_how_to_build_the_small_network(subject: Subject, tmp_path: Path) -> None:
    supernet = subject.supernet
    point = next(iter(supernet.points.values()))
    extract(
        supernet.at_point(point.name),
        subject.core.example_inputs,
        tmp_path / "x",
        space=supernet.space,
        point=point,
        facts={"class_names": ["a<b"]},
    )
    plan = json.loads((tmp_path / "x" / "slim.json").read_text())
    removed = [d.target for d in supernet.space.dims if d.is_gate and point.spec[d.name] == 0]
    assert plan["removed_blocks"] == removed
    assert plan["class_names"] == ["a<b"]
    view = supernet.at_point(point.name)
    for path, sizes in plan["sizes"].items():
        for attribute, value in sizes.items():
            found = getattr(view.get_submodule(path), attribute)
            assert (list(found) if isinstance(found, tuple) else found) == value


def test_strangers_and_files_in_the_way_are_left_alone(subject: Subject, tmp_path: Path) -> None:
    point = next(iter(subject.supernet.points.values()))
    view = subject.supernet.at_point(point.name)

    def go(folder: Path) -> None:
        extract(view, subject.core.example_inputs, folder, space=subject.supernet.space, point=point, facts={})

    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="is a file"):
        go(tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"thesis\.txt"):
        go(tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_the_verb_takes_one_budget(subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.concertina"
    ct.Family(subject.core, subject.supernet).save(path)
    assert main(["extract", str(path), "--share", "1.0", "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert main(["extract", str(path), "-o", str(tmp_path / "none")]) == 2
    assert "budget" in capsys.readouterr().err
    assert main(["extract", str(path), "--share", "1e-9", "-o", str(tmp_path / "none")]) == 2
    assert "smallest point" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_network_that_torch_cannot_export_is_extracted_with_the_reason(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("cannot\ntrace")

    point = next(iter(subject.supernet.points.values()))
    view, space = subject.supernet.at_point(point.name), subject.supernet.space
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "model.pt2").write_text("of an earlier run")
    monkeypatch.setattr("torch.export.export", refuse)
    made = extract(view, subject.core.example_inputs, tmp_path / "x", space=space, point=point, facts={})
    assert made.program_refused == "RuntimeError: cannot"
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["model.safetensors", "slim.json"]
    assert json.loads((tmp_path / "x" / "slim.json").read_text())["program"] == "RuntimeError: cannot"
