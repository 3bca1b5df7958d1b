"""A model repository for Triton: laid out by its rules, and each version computes what its point does."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import concertina as ct
from concertina.cli import main
from concertina.errors import ExportError, InputError, StorageError
from concertina.export import Agreement, Exported, ToExport, TritonPoint, check_model, export_triton
from concertina.export.triton_config import Port, Ports, Served, config_text, in_common, quoted


def parsed(text: str) -> list[tuple[str, Any]]:
    """Return protobuf text as (field, value) pairs; values are texts, numbers, lists and pairs again."""
    words = iter(re.findall(r'"(?:[^"\\]|\\.)*"|[\w.-]+|[:{}\[\],]', text))
    return fields(words, "")


def fields(words: Any, end: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name in words:
        if name == end:
            return found
        sign = next(words)
        if sign == "{":
            found.append((name, fields(words, "}")))
            continue
        assert sign == ":", f"{sign!r} after {name!r}"
        word = next(words)
        if word == "[":
            found.append((name, [int(side) for side in iter(lambda: next(words), "]") if side != ","]))
        else:
            found.append((name, json.loads(word) if word.startswith('"') else word))
    assert end == "", "a bracket is not closed"
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a family with two points and figures of each."""
    core = ct.load("zoo:mlp")
    train, held = (ct.open_data(f"zoo:digits@{part}", preprocess=core.preprocess) for part in ("validation", "test"))
    made = tmp_path_factory.mktemp("triton") / "digits.concertina"
    ct.fit(core, train, held, points=(0.25,), epochs=0).save(made)
    return made


@pytest.fixture(scope="module")
def told(path: Path) -> dict[str, Any]:
    """Return what the verb said of the repository that it wrote beside the file."""
    out = path.parent / "said.json"
    with out.open("w") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        words = ["--data", "zoo:digits@test", "--json", "--quiet"]
        assert main(["export", str(path), "--to", "triton", "-o", str(path.parent / "models"), *words]) == 0
    return dict(json.loads(out.read_text()))


@pytest.fixture(scope="module")
def model(path: Path, told: dict[str, Any]) -> Path:
    """Return the model's folder in the repository."""
    return path.parent / "models" / told["model"]


def test_versions_are_whole_numbers_smallest_first_and_the_last_is_served_by_itself(
    model: Path, told: dict[str, Any]
) -> None:
    assert model.name == "digits"
    numbers = sorted(place.name for place in model.iterdir() if place.is_dir())
    assert numbers == ["1", "2"]  # names that begin with 0 or are no numbers are not seen by Triton
    assert [sorted(file.name for file in (model / number).iterdir()) for number in numbers] == [["model.onnx"]] * 2
    assert {file.name for file in model.iterdir() if file.is_file()} == {
        "config.pbtxt",
        "concertina.json",
        "labels.txt",
    }
    assert [(entry["version"], entry["point"]) for entry in told["versions"]] == [(1, "p25"), (2, "p100")]
    assert told["without a version"] == max(numbers)
    assert all(entry["same_first_choice"] for entry in told["versions"])
    assert not [place for place in model.parent.iterdir() if place.name.startswith(".")]


def test_each_version_gives_the_answers_of_its_point(path: Path, model: Path) -> None:
    family, given = ct.open(path), torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for number, point in (("1", "p25"), ("2", "p100")):
        session = onnxruntime.InferenceSession(model / number / "model.onnx", providers=["CPUExecutionProvider"])
        found = session.run(["output"], {"x": given.numpy()})[0]
        with torch.inference_mode():
            assert np.allclose(found, family.view(point)(given).numpy(), atol=1e-5)


def test_the_configuration_says_what_the_files_take_and_give(model: Path) -> None:
    config = parsed((model / "config.pbtxt").read_text(encoding="utf-8"))
    once = dict(config)
    assert once["name"] == model.name
    assert (once["backend"], once["max_batch_size"]) == ("onnxruntime", "16")
    assert (once["version_policy"], once["dynamic_batching"]) == ([("all", [])], [])
    assert dict(once["input"]) == {"name": "x", "data_type": "TYPE_FP32", "dims": [1, 8, 8]}
    labelled = {"name": "output", "data_type": "TYPE_FP32", "dims": [10], "label_filename": "labels.txt"}
    assert dict(once["output"]) == labelled
    assert (model / "labels.txt").read_text() == "".join(f"{digit}\n" for digit in range(10))
    assert [dict(value)["batch_size"] for name, value in config if name == "model_warmup"] == ["1", "16"]
    for version in ("1", "2"):
        session = onnxruntime.InferenceSession(model / version / "model.onnx", providers=["CPUExecutionProvider"])
        (taken,), (given,) = session.get_inputs(), session.get_outputs()
        assert (taken.name, taken.shape[1:], given.name, given.shape[1:]) == ("x", [1, 8, 8], "output", [10])


def test_numbers_are_explained_by_points_and_their_figures(path: Path, model: Path) -> None:
    facts = json.loads((model / "concertina.json").read_text(encoding="utf-8"))
    points = {str(place + 1): point for place, point in enumerate(ct.open(path).points)}
    assert {number: known["point"] for number, known in facts["versions"].items()} == {"1": "p25", "2": "p100"}
    assert {number: known["macs"] for number, known in facts["versions"].items()} == {
        number: point.macs for number, point in points.items()
    }
    assert all(facts["versions"][number]["metrics"] == dict(point.metrics) for number, point in points.items())
    assert (facts["without_a_version"], facts["class_names"][:2]) == ("2", ["0", "1"])
    config = parsed((model / "config.pbtxt").read_text(encoding="utf-8"))
    listed = {dict(value)["key"]: dict(dict(value)["value"]) for name, value in config if name == "parameters"}
    assert {key: json.loads(value["string_value"])["point"] for key, value in listed.items()} == {
        "concertina.version.1": "p25",
        "concertina.version.2": "p100",
    }


def schema() -> ModuleType:
    """Return Triton's own schema of configurations, out of its client package; its file needs protobuf alone."""
    client = pytest.importorskip("tritonclient")
    pytest.importorskip("google.protobuf.text_format")
    file = Path(client.__file__).parent / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("triton_model_config", file)
    if spec is None or spec.loader is None or not file.exists():
        pytest.skip("the client package carries no schema")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_configuration_is_sound_by_tritons_own_schema(model: Path) -> None:
    kinds = schema()
    from google.protobuf import text_format

    config = text_format.Parse((model / "config.pbtxt").read_text(encoding="utf-8"), kinds.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("digits", "onnxruntime", 16)
    assert config.version_policy.WhichOneof("policy_choice") == "all"
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert [list(given.dims) for given in (*config.input, *config.output)] == [[1, 8, 8], [10]]
    assert config.model_warmup[1].inputs["x"].zero_data
    assert json.loads(config.parameters["concertina.version.2"].string_value)["point"] == "p100"
    odd = Served(
        "net", Ports((Port("x", "TYPE_INT64", (-1, -1)),), (Port("y", "TYPE_FP32", (-1,)),)), 1, 0, {"a": 'ü"\\\n'}
    )
    config = text_format.Parse(config_text(odd), kinds.ModelConfig())
    assert (list(config.input[0].dims), list(config.output[0].dims)) == ([-1], [1])
    assert config.output[0].HasField("reshape")
    assert (config.WhichOneof("scheduling_choice"), config.parameters["a"].string_value) == (None, 'ü"\\\n')


def test_a_network_whose_outputs_are_no_batch_is_not_joined_with_others() -> None:
    ports = Ports((Port("x", "TYPE_FP32", (-1, 4)),), (Port("output", "TYPE_FP32", (2, 2)),))
    config = dict(parsed(config_text(Served("net", ports, 8))))
    assert config["max_batch_size"] == "0"
    assert "dynamic_batching" not in config
    assert (dict(config["input"])["dims"], dict(config["output"])["dims"]) == ([-1, 4], [2, 2])


def test_versions_share_what_they_can_and_are_refused_where_they_cannot() -> None:
    small, large = (Ports((), (Port("output", "TYPE_FP32", (-1, size)),)) for size in (64, 128))
    assert in_common([small, large]).outputs[0].shape == (-1, -1)
    assert in_common([large, large]).outputs[0].shape == (-1, 128)
    with pytest.raises(ExportError, match="different inputs or outputs: got other and output"):
        in_common([small, Ports((), (Port("other", "TYPE_FP32", (-1, 64)),))])


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a b", "ü", "x" * 101, "-x"])
def test_a_name_that_is_no_folder_or_address_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="name of the model"):
        check_model(name)
    assert quoted('"\\') == '"\\"\\\\"'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "triton", "-o", "new", "--share", "1"], "--to triton: got with --share; allowed: without a budget"),
        (["--to", "triton", "-o", "new", "--name", "a b"], "--name: got 'a b'; allowed: 1 to 100"),
        (["--to", "tritn", "-o", "new", "--share", "1"], "Did you mean 'triton'"),
        (["--to", "onnx", "--share", "1", "-o", "x.onnx", "--name", "a"], "--name: allowed: with --to triton"),
        (["--to", "triton", "-o", "models"], "is there already. Give --yes"),
        (["--to", "triton", "-o", "models", "--name", "other", "--yes"], "models/other holds another model"),
        (["--to", "triton", "-o", "digits.concertina"], "is a file"),
        (["--to", "triton", "-o", "none/new"], "folder 'none' is not there"),
    ],
)
def test_wrong_options_are_one_clear_message_and_leave_all_as_it_was(
    words: list[str],
    said: str,
    path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(path.parent)
    other = model.parent / "other"
    other.mkdir(exist_ok=True)
    (other / "config.pbtxt").write_text("mine")
    before = sorted(path.parent.rglob("*"))
    assert main(["export", str(path), *words]) == 2
    assert said in capsys.readouterr().err
    assert sorted(path.parent.rglob("*")) == before


def test_a_missing_package_is_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", str(path), "--to", "triton", "-o", str(tmp_path / "new")]) == 2
    assert 'pip install "concertina-nn[onnx]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class Branching(nn.Module):
    """A network whose way depends on its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def a_point(net: nn.Module) -> TritonPoint:
    return TritonPoint(ToExport("p50", net.eval(), (torch.randn(2, 3),)), {"macs": 6})


def test_what_fails_leaves_nothing_or_what_was_there(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine, folder = a_point(nn.Linear(3, 2)), tmp_path / "new"
    with pytest.raises(ExportError, match=r"torch\.export cannot export Branching"):
        export_triton([fine, a_point(Branching())], folder, "net")
    assert list(tmp_path.iterdir()) == []

    def copied(_to: str, _point: ToExport, path: Path, _real: object) -> Exported:
        path.parent.mkdir()
        shutil.copy(model / "1" / "model.onnx", path)
        return Exported((path,), path.stat().st_size, Agreement(0.0, 0, 0, (), False))

    monkeypatch.setattr("concertina.export.triton.export_point", copied)
    made = export_triton([fine], folder, "net", max_batch=1)
    assert made.num_bytes == made.versions[0].made.files[0].stat().st_size
    text = (folder / "net" / "config.pbtxt").read_text()
    (folder / "beside").mkdir()
    moves = iter([Path.rename, refusing, Path.rename])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *given: next(moves)(*given))
        with pytest.raises(StorageError, match="no room"):
            export_triton([fine], folder, "net", max_batch=8)
    assert (folder / "net" / "config.pbtxt").read_text() == text
    again = export_triton([fine], folder, "net", max_batch=8)
    assert "max_batch_size: 8" in (again.folder / "net" / "config.pbtxt").read_text()
    assert {place.name for place in folder.iterdir()} == {"net", "beside"}
    with pytest.raises(InputError, match="largest batch: got 0"):
        export_triton([fine], folder, "net", max_batch=0)


def refusing(*_given: object) -> Path:
    raise OSError(28, "no room")
