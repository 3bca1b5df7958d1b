"""What two processes do together for `test_ranks.py`: started twice, with a folder, a number and how many there are."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from tests.train.interrupt import press_ctrl_c
from torch import Tensor, nn

import concertina as ct
from concertina.analyse import analyse
from concertina.errors import DataError
from concertina.load.data import TensorData
from concertina.measure.cost import CostModel
from concertina.nest import choose_points, nest
from concertina.objective.base import TASKS, Task
from concertina.score import score
from concertina.train import Trainer, TrainSettings, joined, train
from concertina.types import Core, Graph

CLASSES = ("a", "b", "c")
SETTINGS = TrainSettings(epochs=1, batch_size=22, learning_rate=0.05, seed=3)
POINTS = (0.15, 0.5)


class Block(nn.Module):
    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.norm, self.one, self.two = norm(16), nn.Linear(16, 24), nn.Linear(24, 16)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(torch.relu(self.one(self.norm(x))))


@cache
def case(norm: type[nn.Module]) -> tuple[Core, Graph, Task]:
    """Return a residual network with one kind of normalisation, small enough to be analysed at once."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 16), *(Block(norm) for _ in range(4)), norm(16), nn.Linear(16, len(CLASSES)))
    core = ct.load(network, torch.randn(4, 8), class_names=CLASSES)
    return core, analyse(core), TASKS.get("classification")(CLASSES)  # type: ignore[call-arg]


def samples(count: int = 66) -> TensorData:
    inputs = torch.randn(count, 8, generator=torch.Generator().manual_seed(1))
    return TensorData((inputs, inputs[:, :3].argmax(1)), CLASSES)


def trainer(norm: type[nn.Module], steps: int = 6, **settings: object) -> Trainer:
    core, graph, task = case(norm)
    made = nest(core, graph, score(core, graph, task, [], criterion="magnitude-l2"), CostModel.of)
    choose_points(made, POINTS)
    return Trainer(made, task, steps=steps, settings=replace(SETTINGS, **settings))  # type: ignore[arg-type]


def one_step(norm: type[nn.Module], batch: tuple[Tensor, ...], **settings: object) -> tuple[dict[str, Tensor], float]:
    """Return the state after a first step, whose optimizer holds the gradients, and the loss."""
    made = trainer(norm, **settings)
    loss = made.step(batch)
    return {**made.state(), "macs": torch.tensor([made.macs_spent])}, loss


def run(path: Path | None, *, stop: bool = False) -> dict[str, Tensor]:
    """Train, from the checkpoint where there is one; stop half-way when asked to. Return the weights."""

    def halt(stage: str, done: float) -> None:
        if stop and stage.startswith("training (") and done >= 0.5:
            press_ctrl_c()

    made = trainer(nn.LayerNorm)
    try:
        losses = train(made, samples(), recipe="sandwich", checkpoint=path, resume=path is not None, progress=halt)
    except KeyboardInterrupt:
        return {}
    return {**made.state(), "losses": torch.tensor(losses), "macs": torch.tensor([made.macs_spent])}


def fitted() -> ct.Family:
    core, _, _ = case(nn.BatchNorm1d)
    return ct.fit(core, samples(), samples(), points=POINTS, epochs=2, batch_size=22, seed=3)


class Failing(TensorData):
    """Data that one process cannot read to its end."""

    reads = 0

    def __getattribute__(self, name: str) -> object:
        if name == "tensors" and dist.get_rank() == 1:
            Failing.reads += 1
            if Failing.reads > 6:
                raise DataError("the disk of process 1 is broken")
        return super().__getattribute__(name)


def fail() -> None:
    with joined():
        train(trainer(nn.LayerNorm, 99), Failing(samples().tensors, CLASSES), recipe="sandwich")


def main(folder: Path, rank: int, count: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=count)
    data = samples().tensors
    batch = tuple(tensor[:22] for tensor in data)
    results: dict[str, dict[str, Tensor]] = {
        "layer-norm": one_step(nn.LayerNorm, batch)[0],
        "adamw": one_step(nn.LayerNorm, tuple(t[:21] for t in data), optimizer="adamw", clip_norm=0.1)[0],
        "batch-norm": one_step(nn.BatchNorm1d, batch)[0],
        "resumed": run(folder / "begun-by-one.fit"),
    }
    for name in (f"begun-by-{count}", "again"):
        run(folder / f"{name}.fit", stop=True)
    results |= {"again": run(folder / "again.fit"), "whole": run(None)}
    family = fitted()
    if rank == 0:
        for name, tensors in results.items():
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / f"{name}.safetensors")
        family.save(folder / "together.concertina")
    fail()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
