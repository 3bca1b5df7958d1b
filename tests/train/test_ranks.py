"""Training in two processes: the gradients of one, checkpoints for any number, one file, one end."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tests.train import together
from torch import Tensor, nn

import concertina as ct

COUNT = 2


@dataclass(frozen=True)
class Both:
    """What two processes left behind."""

    folder: Path
    codes: list[int]
    said: list[str]

    def tensors(self, name: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"{name}.safetensors")


@pytest.fixture(scope="module")
def both(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("ranks")
    together.run(folder / "begun-by-one.fit", stop=True)
    words = [sys.executable, "-m", "tests.train.together", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*words, str(rank), str(COUNT)], cwd=root, env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(COUNT)
    ]
    try:
        said = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return Both(folder, [process.returncode for process in processes], said)


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert found.keys() == wanted.keys()
    far = {
        name: float((found[name] - tensor).abs().max())
        for name, tensor in wanted.items()
        if not torch.allclose(found[name], tensor, rtol=tolerance, atol=tolerance * float(tensor.abs().max()))
    }
    assert far == {}


def batch(count: int = 22) -> tuple[Tensor, ...]:
    return tuple(tensor[:count] for tensor in together.samples().tensors)


def test_gradients_are_those_of_one_process_also_where_passes_skip_layers(both: Both) -> None:
    alone, _ = together.one_step(nn.LayerNorm, batch())
    assert sum(name.startswith("optimizer.momentum_buffer.shared.") for name in alone) > 20
    assert_close(both.tensors("layer-norm"), alone)
    smallest = next(iter(together.trainer(nn.LayerNorm).supernet.points.values())).spec
    assert [name for name, choice in smallest.choices if name.startswith("depth:") and choice == 0]


def test_parts_of_unequal_size_clipped_gradients_and_adamw_are_those_of_one_process(both: Both) -> None:
    alone, _ = together.one_step(nn.LayerNorm, batch(21), optimizer="adamw", clip_norm=0.1)
    found = both.tensors("adamw")
    assert float(found["optimizer.step.shared.0.weight"]) == 1
    moments = {name for name in alone if "exp_avg." in name}
    assert moments
    assert found.keys() == alone.keys()
    assert_close({name: found[name] for name in moments}, {name: alone[name] for name in moments})


def test_batch_norm_gives_the_mean_of_what_each_part_of_the_batch_gives_alone(both: Both) -> None:
    parts = [tuple(tensor[at : at + 11] for tensor in batch()) for at in (0, 11)]
    halves = [together.one_step(nn.BatchNorm1d, part)[0] for part in parts]
    found = both.tensors("batch-norm")
    kept = [name for name in found if "momentum_buffer" in name or "running_" in name]
    assert any(".running_var" in name for name in kept)
    assert_close({n: found[n] for n in kept}, {n: (halves[0][n] + halves[1][n]) / 2 for n in kept})


def test_the_cost_of_all_processes_is_counted(both: Both) -> None:
    assert both.tensors("batch-norm")["macs"].equal(together.one_step(nn.BatchNorm1d, batch())[0]["macs"])


def test_a_run_begun_by_one_process_goes_on_with_two_and_the_other_way_round(both: Both) -> None:
    whole = together.run(None)
    assert len(whole["losses"]) == 6
    assert_close(both.tensors("resumed"), whole, 1e-4)
    assert_close(together.run(both.folder / f"begun-by-{COUNT}.fit"), whole, 1e-4)


def test_two_processes_that_were_interrupted_end_bit_for_bit_where_two_never_stopped_end(both: Both) -> None:
    again, whole = both.tensors("again"), both.tensors("whole")
    assert again.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(again[name], whole[name])] == []


def test_the_file_is_like_that_of_one_process(both: Both) -> None:
    path = both.folder / "alone.concertina"
    alone = together.fitted()
    alone.save(path)
    assert layout(both.folder / "together.concertina") == layout(path)
    family = ct.open(both.folder / "together.concertina", module=together.case(nn.BatchNorm1d)[0].module)
    assert family.evidence.provenance["processes"] == "2"
    assert family.evidence.provenance["training MACs"] == alone.evidence.provenance["training MACs"]
    assert all(dict(point.metrics)["accuracy"] > 0.2 for point in family.points)
    assert not list(both.folder.glob("*.tmp"))


def layout(path: Path) -> dict[str, object]:
    """Return the shapes of all that a file holds; the tables at its end are as long as their figures."""
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        shapes = {name: file.get_slice(name).get_shape() for name in names if name != "tables"}
        return shapes | {"names": names, "about": sorted(file.metadata())}


def test_a_process_that_fails_ends_all_and_both_say_why(both: Both) -> None:
    assert all(both.codes), both.said
    last = [said.strip().split("\n")[-1] for said in both.said]
    assert "DataError: the disk of process 1 is broken." in last[1]
    assert "RankError: process 1 of the run failed: the disk of process 1 is broken." in last[0]
