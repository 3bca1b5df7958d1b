"""The main job on a real network: ResNet-20 with real weights on CIFAR-10, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import concertina as ct
from concertina.analyse import analyse
from concertina.cli import main
from concertina.load.data import batches
from concertina.measure.quality import evaluate
from concertina.objective.base import TASKS

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def core(real_data: Path) -> ct.Core:
    return ct.load("zoo:cifar-resnet20", weights=real_data / "resnet20-cifar10.safetensors")


def test_the_core_has_its_published_accuracy(core: ct.Core, real_data: Path) -> None:
    data = ct.open_data(real_data / "cifar10-test.npz", preprocess=core.preprocess, class_names=core.class_names)
    task = TASKS.get("classification")(core.class_names)  # type: ignore[call-arg]
    quality = evaluate(core.module, task, batches(data, 500), spec="core", data=data.fingerprint)
    assert int(quality.rows["correct"].sum()) == pytest.approx(7338, abs=2)


def test_the_first_stage_s_stream_runs_through_the_middle_of_the_others(core: ct.Core) -> None:
    graph = analyse(core)
    inner = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert [group.name for group in graph.elastic_groups] == ["conv1", *inner]
    assert {m.start for m in graph.elastic_groups[0].members if m.of} == {8, 24}
    assert len(graph.elastic_blocks) == 7


@pytest.fixture(scope="module")
def fitted(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("r20") / "r20.concertina"
    words = ["fit", "--arch", "zoo:cifar-resnet20", "--weights", str(real_data / "resnet20-cifar10.safetensors")]
    data = f"{real_data / 'cifar10-test.npz'}@part=calibration"
    words += ["--data", data, "--validation", data, "--points", "0.25,0.5,1.0", "--epochs", "1", "--dtype", "auto"]
    assert main([*words, "-o", str(path), "-q"]) == 0
    return path


def test_fit_inspect_extract_and_report_on_the_real_network(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(fitted), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [point["point"] for point in told["points"]] == ["p25", "p50", "p100"]
    assert main(["extract", str(fitted), "--share", "0.5", "-o", str(tmp_path / "half")]) == 0
    assert sorted(p.name for p in (tmp_path / "half").iterdir()) == ["model.pt2", "model.safetensors", "slim.json"]
    assert main(["report", str(fitted), "-o", str(tmp_path / "r20.html")]) == 0
    assert "airplane" in (tmp_path / "r20.html").read_text()


def test_a_file_of_the_real_network_is_small_and_keeps_the_core_s_predictions(fitted: Path, core: ct.Core) -> None:
    family = ct.open(fitted)
    tensors = sum(t.nbytes for t in family.supernet.module.state_dict().values() if t.is_floating_point())
    private = sum(t.nbytes for held in family.supernet.private.values() for t in held.values())
    assert fitted.stat().st_size <= 1.03 * (tensors + private)
    assert len(family.evidence.core_predictions) == 2500
    assert family.core.fingerprint == core.fingerprint
    half = family.at(0.5)
    with torch.no_grad():
        assert torch.isfinite(half(*core.example_inputs)).all()
