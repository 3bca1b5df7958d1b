"""Calibration: the normalisation statistics of one subnet, from data, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from concertina.errors import DataError
from concertina.nest import Supernet, norm_tensors
from concertina.nest.plugged import Plug, with_plugs
from concertina.objective.base import Task
from concertina.types import Batches, SubnetSpec

MOVING_STATISTICS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def calibrate(
    supernet: Supernet,
    spec: SubnetSpec,
    private: Mapping[str, Tensor],
    task: Task,
    batches: Batches,
    plugs: Sequence[Plug] = (),
) -> dict[str, Tensor]:
    """Return private tensors whose statistics are those of `spec` on `batches`; weights stay as they are.

    Layers without moving statistics (LayerNorm) have nothing to calibrate and keep what they have.

    Args:
        supernet: The family.
        spec: The subnet.
        private: Its private tensors so far.
        task: Gives the inputs of a batch.
        batches: Calibration data as the network sees it in use, not augmented.
        plugs: What is plugged into the subnet.

    Raises:
        DataError: There is no batch of two samples or more.

    Source: Yu and Huang, post-statistics of batch normalisation (arXiv:1903.05134).
    """
    fresh = {name: tensor.detach().clone() for name, tensor in private.items()}
    subnet = with_plugs(supernet, spec, plugs, fresh) if plugs else supernet.subnet(spec, fresh)
    layers = [layer for layer in subnet.modules() if isinstance(layer, MOVING_STATISTICS) and layer.track_running_stats]
    stays = {name: tensor for name, tensor in private.items() if isinstance(tensor, nn.Parameter)}
    if not layers:
        return fresh | stays
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    seen = 0
    with torch.no_grad():
        for batch in batches:
            if len(batch[-1]) > 1:
                subnet(*task.inputs(batch))
                seen += 1
    if not seen:
        raise DataError("calibration needs a batch of two samples or more", asked="none")
    return fresh | stays


def shared_statistics(supernet: Supernet) -> dict[str, Tensor]:
    """Return the shared normalisation tensors themselves: the private tensors of the full point."""
    names = norm_tensors(supernet.module)
    tensors = dict(supernet.module.named_parameters()) | dict(supernet.module.named_buffers())
    return {name: tensors[name] for name in names}


def moving(private: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the statistics among the private tensors of a point, without its scales and shifts."""
    return {name: tensor for name, tensor in private.items() if not isinstance(tensor, nn.Parameter)}
