"""OpenVINO files compute what their subnets compute, in full precision, at any batch size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.subjects import EXPORTED, NAMES, family, inputs, outputs, relative_error
from torch import Tensor

import concertina as ct
from concertina.cli import main
from concertina.errors import ExportError, ExtraError
from concertina.export import EXPORTERS, Exported, Program, export_point, export_points
from concertina.export.extras import need
from concertina.family.runtimes import to_export

EXPORTER = EXPORTERS.get("openvino")()


@pytest.fixture(scope="module", params=NAMES)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ct.Family, dict[str, Exported]]:
    owner, folder = family(request.param), tmp_path_factory.mktemp(request.param)
    points = [owner.choose(point=name) for name in EXPORTED[request.param]]
    made = {p.name: export_point("openvino", to_export(owner, p), folder / f"{p.name}.xml") for p in points}
    return owner, made


def run(path: Path, given: tuple[Tensor, ...]) -> Tensor:
    """Return the first output of a file in OpenVINO, without any code of ours but the import."""
    (openvino,) = need("openvino", "openvino")
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(compiled([tensor.numpy() for tensor in given])["output"].copy())


def test_every_point_computes_what_its_subnet_does_at_any_batch(
    exported: tuple[ct.Family, dict[str, Exported]],
) -> None:
    owner, made = exported
    for point in made:
        for batch in (1, 5):
            given = inputs(owner, batch)
            assert relative_error(run(made[point].files[0], given), outputs(owner, point, given)) < 1e-4


def test_only_the_batch_is_free_and_weights_are_full_precision(
    exported: tuple[ct.Family, dict[str, Exported]],
) -> None:
    owner, made = exported
    (openvino,) = need("openvino", "openvino")
    for point in made:
        xml, weights = made[point].files
        (given,) = openvino.Core().read_model(xml).inputs
        shape = given.get_partial_shape()
        assert [side.is_dynamic for side in shape] == [True, *[False] * (len(shape) - 1)]
        assert [side.get_length() for side in list(shape)[1:]] == list(owner.core.example_inputs[0].shape[1:])
        assert weights.stat().st_size >= 0.9 * owner.choose(point=point).params * 4
        assert made[point].num_bytes == xml.stat().st_size + weights.stat().st_size


def test_files_carry_plain_facts_and_nothing_of_this_machine(
    exported: tuple[ct.Family, dict[str, Exported]],
) -> None:
    _, made = exported
    text = made["smallest"].files[0].read_text(encoding="utf-8")
    assert '<point value="smallest" />' in text
    assert str(Path(ct.__file__).parents[2]) not in text


def test_a_changed_weight_is_caught_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = EXPORTERS.get("openvino")
    write = part.write

    def write_changed(self: object, *arguments: object) -> tuple[Path, ...]:
        xml, weights = write(self, *arguments)
        values = np.frombuffer(weights.read_bytes(), np.float32).copy()
        values[:2000] *= np.float32(1.02)
        weights.write_bytes(values.tobytes())
        return xml, weights

    monkeypatch.setattr(part, "write", write_changed)
    owner = family("tiny-vit")
    with pytest.raises(ExportError, match="does not compute what the subnet does"):
        export_point("openvino", to_export(owner, owner.choose(point="smallest")), tmp_path / "x.xml")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = family("mlp")
    path = tmp_path / "family.concertina"
    owner.save(path)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ExtraError, match=r'got openvino.*pip install "concertina-nn\[openvino\]"'):
        export_point("openvino", to_export(owner, owner.points[0]), tmp_path / "x.xml")
    words = ["export", str(path), "--to", "openvino", "--share", "1", "-o", str(tmp_path / "x.xml")]
    assert main(words) == 2
    assert 'pip install "concertina-nn[openvino]"' in capsys.readouterr().err


def test_the_verb_writes_both_files_and_measure_times_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "family.concertina"
    family("mlp").save(path)
    words = ["export", str(path), "--to", "openvino", "--share", "1", "-o", str(tmp_path / "x.xml")]
    capsys.readouterr()
    assert main([*words, "--data", "zoo:digits@test", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [Path(file).name for file in facts["files"]] == ["x.xml", "x.bin"]
    assert facts["same_first_choice"] is True
    owner = ct.open(path)
    found = owner.measure_latency(threads=1, time_limit_s=0.5, runtime="openvino")
    assert all(record.scope.startswith("batch=1 threads=1 openvino") for record in found)


def test_graphs_over_shared_weights_run_in_openvino_too(tmp_path: Path) -> None:
    owner = family("digits-cnn")
    points = [to_export(owner, owner.choose(point=name)) for name in ("smallest", "full")]
    shared, _ = export_points(points, tmp_path / "all")
    for point in points:
        given = inputs(owner, 3)
        assert relative_error(run(shared.graphs[point.name], given), outputs(owner, point.name, given)) < 1e-4


def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    for name, text in (("onnx", "Runtime refuses broken"), ("openvino", "OpenVINO refuses broken")):
        exporter = EXPORTERS.get(name)()
        path = tmp_path / f"broken{exporter.suffix}"
        path.write_text("nothing")
        with pytest.raises(ExportError, match=text):
            exporter.load(path)


def test_a_runner_computes_what_a_call_does(tmp_path: Path) -> None:
    owner = family("mlp")
    path = export_point("openvino", to_export(owner, owner.points[0]), tmp_path / "x.xml").files[0]
    program: Program = EXPORTER.load(path, threads=1)
    given = inputs(owner, 2)
    timed = program.runner(*given)()
    assert np.array_equal(timed[0], program(*given)[0].numpy())
