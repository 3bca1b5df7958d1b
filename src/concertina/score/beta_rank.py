"""Beta-Rank: a unit is worth what its filter makes of what it is given, not only how large the filter is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.objective.base import Task
from concertina.score.base import CRITERIA, Criterion, owners_of, per_unit, relative_norms
from concertina.types import Batches, Graph, Group, Member

FLAT = 1e-6
"""Least deviation of an input, as a share of the largest, that counts: the borders of images hardly vary."""


@CRITERIA.register(
    "beta-rank", source="Homayounfar et al., Beta-Rank (arXiv:2304.07461)", methods=("003-21",), year=2023
)
class BetaRank(Criterion):
    """Mean absolute weight of a filter times the deviation of its output over that of the patch it reads.

    Deviations are those between the samples of a batch at one position, so what varies with the image counts, and what
    all images share does not. The ratio is averaged over positions and batches, and over all layers that make the
    group, each scaled to a mean of 1. Only convolutions and linear layers rate their filters like this; a group that
    none of them makes is rated by L1 magnitude.

    Use it with a class-balanced sample of an imbalanced data set (`balanced=True`): then a rare class has as much part
    in the deviations as a common one. It needs forward passes only.
    """

    name = "beta-rank"
    needs_data = True
    is_loss = False

    def score(
        self, module: nn.Module, graph: Graph, task: Task, batches: Batches, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return group -> (units,) mean ratios, weighed by the filters."""
        ratios: dict[tuple[str, str], list[Tensor]] = {}
        for batch in batches:
            with torch.no_grad(), _making(module, graph) as made:
                module(*task.inputs(batch))
            for key, ratio in made:
                ratios.setdefault(key, []).append(ratio)
        weights = dict(module.named_parameters())
        scores = relative_norms(module, graph, 1)
        for group in graph.elastic_groups:
            sides = [
                _of_units(torch.stack(ratios[group.name, member.tensor]).mean(0), weights[member.tensor], member, group)
                for member in group.members
                if (group.name, member.tensor) in ratios
            ]
            if sides:
                scores[group.name] = torch.stack([side / side.mean().clamp_min(1e-30) for side in sides]).mean(0)
        return scores


def _of_units(ratio: Tensor, weight: Tensor, member: Member, group: Group) -> Tensor:
    """Return mean |weight| times the ratio of each unit, (units,); `ratio` is (outputs,) of the layer."""
    sizes = per_unit(weight.detach().abs(), member, group.units).mean(1)
    own = ratio.narrow(0, member.start, group.units * member.positions).reshape(group.units, -1)
    return sizes.float().cpu() * own.mean(1)


@contextmanager
def _making(module: nn.Module, graph: Graph) -> Iterator[list[tuple[tuple[str, str], Tensor]]]:
    """Collect ((group, weight), ratios (outputs,)) of every call of a layer that makes units of elastic groups."""
    found: list[tuple[tuple[str, str], Tensor]] = []
    owners = owners_of(module)
    with ExitStack() as hooks:
        for group in graph.elastic_groups:
            for member in group.members:
                for layer in owners.get(member.tensor, ()) if member.role == "out" and member.dim == 0 else ():
                    hook = layer.register_forward_hook(_note(found, (group.name, member.tensor)))
                    hooks.callback(hook.remove)
        yield found


def _note(found: list[tuple[tuple[str, str], Tensor]], key: tuple[str, str]) -> Any:
    def note(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        """Keep the ratios (outputs,) of one call."""
        found.append((key, _ratio(layer, arguments[0], output)))

    return note


def _ratio(layer: nn.Module, read: Tensor, made: Tensor) -> Tensor:
    """Return the deviation between samples of each output over that of the patch it reads, mean over positions."""
    if isinstance(layer, nn.Conv2d):
        spread = _patch_deviation(layer, read.float())
        places = made.float().std(0, unbiased=False).flatten(1)
        there = spread.flatten() > FLAT * spread.max().clamp_min(1e-30)
        return (places[:, there] / spread.flatten()[there]).mean(1).cpu() if bool(there.any()) else places.sum(1).cpu()
    channel = 1 if isinstance(layer, nn.Conv1d | nn.Conv3d) else -1
    rows = made.float().movedim(channel, -1).flatten(0, -2)
    return (rows.std(0, unbiased=False) / read.float().std(unbiased=False).clamp_min(1e-30)).cpu()


def _patch_deviation(layer: nn.Conv2d, read: Tensor) -> Tensor:
    """Return the deviation over samples, channels and window of what each output position reads, (height, width)."""
    moments = torch.stack([read.mean((0, 1)), read.square().mean((0, 1))])[:, None]
    kernel = torch.ones(1, 1, *layer.kernel_size, device=read.device) / (layer.kernel_size[0] * layer.kernel_size[1])
    options: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    mean, square = F.conv2d(moments, kernel, **options)[:, 0]
    return (square - mean.square()).clamp_min(0).sqrt()
