"""Images lie with their channels last in training, but not where that corrupts memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import concertina as ct


class Shortcut(nn.Module):
    """A strided convolution, and beside it one of a pixel that shortens the way where `projects`."""

    def __init__(self, projects: bool) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.short = nn.Conv2d(8, 8, 1, stride=2) if projects else nn.AvgPool2d(2)
        self.head, self.seen = nn.Linear(8, 2), []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous())
        x = torch.relu(self.stem(x))
        return self.head(torch.relu(self.down(x) + self.short(x)).mean((2, 3)))


@pytest.mark.parametrize("projects", [True, False])
def test_channels_are_last_only_where_no_pixel_is_convolved_with_a_stride(projects: bool) -> None:
    torch.manual_seed(0)
    network, x = Shortcut(projects).eval(), torch.randn(16, 3, 8, 8)
    data = torch.utils.data.TensorDataset(x, torch.arange(16) % 2)
    core = ct.load(network, x[:2], class_names=("a", "b"))
    ready = ct.prepare(core, data, points=(0.5, 1.0), criterion="magnitude-l1", augment="none")
    trainer = ct.Trainer(ready.supernet, ready.task, steps=1, settings=ct.TrainSettings(batch_size=8))
    trainer.teacher.module.seen.clear()
    ready.supernet.module.seen.clear()
    trainer.step(next(iter(torch.utils.data.DataLoader(data, 8))))
    seen = {laid for module in (trainer._passes.of(p).module for p in ready.supernet.points) for laid in module.seen}
    assert seen == {not projects}
