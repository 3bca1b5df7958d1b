"""ONNX files compute what their subnets compute, one by one and over one file of weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from tests.export.subjects import EXPORTED, NAMES, POINTS, family, inputs, outputs, relative_error
from torch import Tensor, nn

import concertina as ct
from concertina.cli import main
from concertina.errors import ExportError, ExtraError, InputError, StorageError
from concertina.export import (
    EXPORTERS,
    Agreement,
    Exported,
    RealInputs,
    SharedExport,
    ToExport,
    export_point,
    export_points,
)
from concertina.family.runtimes import to_export
from concertina.save import open_artifact


def run(path: Path, given: tuple[Tensor, ...]) -> Tensor:
    """Return the first output of a file in ONNX Runtime, without any code of ours."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    fed = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
    return torch.from_numpy(session.run(["output"], fed)[0])


@dataclass(frozen=True)
class Outcome:
    """A family exported both ways."""

    owner: ct.Family
    single: dict[str, Exported]
    shared: SharedExport
    agreements: dict[str, Agreement]


@pytest.fixture(scope="module", params=NAMES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    owner, folder = family(request.param), tmp_path_factory.mktemp(request.param)
    points = [to_export(owner, owner.choose(point=name)) for name in EXPORTED[request.param]]
    single = {point.name: export_point("onnx", point, folder / f"{point.name}.onnx") for point in points}
    shared, agreements = export_points(points, folder / "all")
    return Outcome(owner, single, shared, agreements)


def test_every_point_computes_what_its_subnet_does_at_any_batch(exported: Outcome) -> None:
    for point in exported.single:
        for batch in (1, 5):
            given = inputs(exported.owner, batch)
            found = run(exported.single[point].files[0], given)
            assert relative_error(found, outputs(exported.owner, point, given)) < 1e-4
        assert exported.single[point].agreement.batches == (1, 2, 5)


def test_the_smallest_point_has_skipped_blocks_and_a_smaller_file(exported: Outcome) -> None:
    smallest = exported.owner.choose(point="smallest")
    gates = [dim for dim in exported.owner.supernet.space.dims if dim.is_gate]
    assert all(smallest.spec[dim.name] == dim.choices[0] for dim in gates)
    sizes = [made.num_bytes for made in exported.single.values()]
    assert sizes == sorted(sizes)
    assert exported.single["smallest"].num_bytes == exported.single["smallest"].files[0].stat().st_size


def test_shared_points_compute_what_separate_files_do(exported: Outcome) -> None:
    for point in exported.single:
        for batch in (1, 5):
            given = inputs(exported.owner, batch, seed=1)
            found, alone = run(exported.shared.graphs[point], given), run(exported.single[point].files[0], given)
            assert relative_error(found, alone) <= 1e-6
        assert exported.agreements[point].max_relative_error < 1e-4


def test_one_file_of_weights_serves_all_points(exported: Outcome) -> None:
    shared, net = exported.shared, exported.owner.supernet
    files = {path.name for path in shared.folder.iterdir()}
    assert files == {"weights.bin", *(f"{point}.onnx" for point in exported.single)}
    private = sum(tensor.nbytes for tensors in net.private.values() for tensor in tensors.values())
    full = exported.owner.choose(point="full").size_bytes
    assert shared.weights.stat().st_size == shared.weight_bytes <= 1.02 * (full + private)
    assert shared.graph_bytes == sum(path.stat().st_size for path in shared.graphs.values())
    separate = sum(made.num_bytes for made in exported.single.values())
    assert abs(shared.separate_bytes - separate) < 0.02 * separate
    assert shared.saved_bytes == shared.separate_bytes - shared.weight_bytes - shared.graph_bytes
    if "middle" in exported.single:  # next to the full point alone, the smallest has hardly anything to share
        assert shared.saved_bytes > 0.2 * shared.separate_bytes


def test_graphs_name_bytes_that_are_there_and_nothing_of_this_machine(exported: Outcome) -> None:
    root = str(Path(ct.__file__).parents[2]).encode()
    for path in [*exported.shared.graphs.values(), *(made.files[0] for made in exported.single.values())]:
        assert root not in path.read_bytes()
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            where = {entry.key: entry.value for entry in tensor.external_data}
            if where:
                assert where["location"] == "weights.bin"
                assert int(where["offset"]) + int(where["length"]) <= exported.shared.weight_bytes


def test_files_carry_plain_facts(exported: Outcome) -> None:
    for path in (exported.shared.graphs["smallest"], exported.single["smallest"].files[0]):
        facts = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
        assert facts["concertina.point"] == "smallest"
        assert facts["concertina.spec"] == exported.owner.choose(point="smallest").spec.text
        assert json.loads(facts["concertina.class_names"]) == list(exported.owner.core.class_names)


def test_a_changed_weight_is_caught_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = EXPORTERS.get("onnx")
    write = part.write

    def write_changed(self: object, *arguments: object) -> tuple[Path, ...]:
        (path,) = write(self, *arguments)
        model = onnx.load(path)
        weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
        onnx.save(model, path)
        return (path,)

    monkeypatch.setattr(part, "write", write_changed)
    owner = family("mlp")
    with pytest.raises(ExportError, match=r"small\.onnx \(smallest\) does not compute what the subnet does.*relative"):
        export_point("onnx", to_export(owner, owner.choose(point="smallest")), tmp_path / "small.onnx")
    assert list(tmp_path.iterdir()) == []
    path = save(owner, tmp_path)
    assert main(["export", str(path), "--to", "onnx", "--share", "1", "-o", str(tmp_path / "x.onnx"), "-q"]) == 1
    assert list(tmp_path.iterdir()) == [path]


class Branching(nn.Module):
    """A network whose way depends on its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def test_a_network_that_no_exporter_takes_is_named(tmp_path: Path) -> None:
    point = ToExport("p50", Branching().eval(), (torch.randn(2, 3),))
    with pytest.raises(ExportError, match=r"torch\.export cannot export Branching") as caught:
        export_point("onnx", point, tmp_path / "x.onnx")
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


class TwoWays(nn.Module):
    """Two inputs, tied weights, two outputs in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"sum": self.first(left) + self.second(right), "rows": right.sum(-1)}


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    net, given = TwoWays().eval(), (torch.randn(3, 4), torch.randn(3, 4))
    path = export_point("onnx", ToExport("p50", net, given), tmp_path / "x.onnx").files[0]
    session = onnxruntime.InferenceSession(path)
    assert [one.name for one in session.get_inputs()] == ["left", "right"]
    assert [one.name for one in session.get_outputs()] == ["output_0", "output_1"]
    found = EXPORTERS.get("onnx")().load(path, threads=1)(*given)
    assert torch.allclose(found[0], net(*given)["sum"], atol=1e-6)
    assert torch.allclose(found[1], given[1].sum(-1), atol=1e-6)


def test_exporting_says_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, torch\nfrom pathlib import Path\nfrom concertina.export import ToExport, export_point\n"
        "point = ToExport('p50', torch.nn.Linear(3, 2).eval(), (torch.randn(2, 3),))\n"
        "for to, suffix in (('onnx', '.onnx'), ('openvino', '.xml')):\n"
        "    export_point(to, point, Path(sys.argv[1]) / f'x{suffix}')\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HOME": str(home)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "x.bin", "x.onnx", "x.xml"]
    assert not (home / "intel").exists(), "OpenVINO reported its use"


def test_a_missing_extra_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = family("mlp")
    path = save(owner, tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    words = r'onnx export needs a package.*got onnxruntime.*pip install "concertina-nn\[onnx\]".*-e "\.\[onnx\]"'
    with pytest.raises(ExtraError, match=words):
        export_point("onnx", to_export(owner, owner.points[0]), tmp_path / "x.onnx")
    with pytest.raises(ExtraError, match=words):
        owner.measure_latency(runtime="onnx")
    capsys.readouterr()
    assert main(["export", str(path), "--to", "onnx", "--all-points", "-o", str(tmp_path / "all")]) == 2
    assert (
        'pip install "concertina-nn[onnx]" (in a clone of the repository: pip install -e ".[onnx]")'
        in capsys.readouterr().err
    )
    assert main(["measure", str(path), "--latency", "--runtime", "onnx"]) == 2
    assert (
        'pip install "concertina-nn[onnx]" (in a clone of the repository: pip install -e ".[onnx]")'
        in capsys.readouterr().err
    )


def save(owner: ct.Family, folder: Path) -> Path:
    path = folder / "family.concertina"
    owner.save(path)
    return path


def test_the_verb_writes_one_point_checked_on_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = save(family("mlp"), tmp_path), tmp_path / "x.onnx"
    words = ["export", str(path), "--to", "onnx", "--point", "middle", "-o", str(out), "--data", "zoo:digits@test"]
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["point"], facts["files"], facts["same_first_choice"]) == ("middle", [str(out)], True)
    assert facts["num_real"] == 360
    assert facts["max_relative_error"] < 1e-4
    assert main(words) == 2
    assert "Give --yes to replace it" in capsys.readouterr().err
    assert main([*words, "--yes", "--quiet"]) == 0


def test_the_verb_writes_all_points_and_says_what_that_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = save(family("mlp"), tmp_path), tmp_path / "all"
    capsys.readouterr()
    assert main(["export", str(path), "--to", "onnx", "--all-points", "-o", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [point["point"] for point in facts["points"]] == list(POINTS)
    assert facts["weight_bytes"] == (out / "weights.bin").stat().st_size
    assert facts["saved_bytes"] == facts["separate_bytes"] - facts["weight_bytes"] - facts["graph_bytes"] > 0
    assert len({point["file"] for point in facts["points"]}) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "onnxx", "--share", "1", "-o", "x.onnx"], "unknown exporter: got 'onnxx'"),
        (["--to", "onnx", "--share", "1", "-o", "x.xml"], "a name that ends in .onnx"),
        (["--to", "onnx", "-o", "x.onnx"], "exactly one of --point, --share"),
        (["--to", "onnx", "--all-points", "--share", "1", "-o", "x"], "without a budget"),
        (["--to", "openvino", "--all-points", "-o", "x"], "allowed: --to onnx"),
        (["--to", "onnx", "--share", "1e-9", "-o", "x.onnx"], "the smallest point, 'smallest'"),
        (["--to", "onnx", "--share", "1", "-o", "x.onnx", "--data", "none.npz"], "data 'none.npz' is not there"),
    ],
)
def test_wrong_options_are_one_clear_message(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = save(family("mlp"), tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(path), *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_strangers_and_names_that_are_no_file_names_are_refused(tmp_path: Path) -> None:
    given = (torch.randn(2, 3),)
    net = nn.Linear(3, 2).eval()
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"thesis\.txt"):
        export_points([ToExport("p50", net, given)], tmp_path / "all")
    for name in ("../p50", "a/b", "", ".hidden"):
        with pytest.raises(InputError, match="name of a point, as a file"):
            export_points([ToExport(name, net, given)], tmp_path / "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["all", "thesis.txt"]


def test_latency_says_which_runtime_it_speaks_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    owner = ct.open(save(family("mlp"), tmp_path))
    found = owner.measure_latency(threads=1, time_limit_s=0.5, runtime="onnx")
    assert {record.spec for record in found} == {point.spec.text for point in owner.points}
    assert all(record.scope.startswith("batch=1 threads=1 onnx") for record in found)
    eager = owner.measure_latency(threads=1, time_limit_s=0.5)
    assert not any("eager" in record.scope or "onnx" in record.scope for record in eager)
    shown = owner.latencies_ms(threads=1)  # on a busy machine unresolved figures are measured anew: the last count
    median = {r.spec: r.value for r in owner.records if r.metric == "latency_ms_median" and "onnx" not in r.scope}
    assert shown == {point.name: median[point.spec.text] for point in owner.points}
    path = tmp_path / "family.concertina"
    assert main(["measure", str(path), "--latency", "--runtime", "tflite"]) == 2
    assert "unknown runtime: got 'tflite'; allowed: eager, onnx, openvino" in capsys.readouterr().err
    assert main(["measure", str(path), "--data", "zoo:digits@test", "--runtime", "onnx"]) == 2
    assert "with --latency" in capsys.readouterr().err


def test_exporting_leaves_the_family_as_it_was(tmp_path: Path) -> None:
    path = save(family("digits-cnn"), tmp_path)
    owner = ct.open(path)
    export_point("onnx", to_export(owner, owner.choose(point="smallest")), tmp_path / "x.onnx")
    owner.save(tmp_path / "again.concertina")
    with open_artifact(path) as before, open_artifact(tmp_path / "again.concertina") as after:
        assert before.sha256 == after.sha256


def test_real_inputs_of_a_task_without_classes_have_no_first_choice(tmp_path: Path) -> None:
    net = nn.Linear(3, 2).eval()
    point = ToExport("p50", net, (torch.randn(2, 3),))
    plain = export_point("onnx", point, tmp_path / "a.onnx", RealInputs((torch.randn(70, 3),)))
    chosen = export_point("onnx", point, tmp_path / "b.onnx", RealInputs((torch.randn(70, 3),), top1=True))
    assert (plain.agreement.top1, chosen.agreement.top1) == (False, True)
    assert plain.agreement.num_real == chosen.agreement.num_real == 70
    assert plain.agreement.batches == (1, 2, 5, 6, 64)
