"""The copy that groups are verified on: random weights show mistakes that real or fresh weights hide."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from concertina.analyse.attention import find_heads
from concertina.analyse.events import hooked

PEAKED = 3.0
"""Factor on queries and keys: attention that averages would make all tokens alike after a few layers."""
CALM = 0.3
"""Factor on what attention adds: more than what it is added to, and deep down all tokens would be alike."""
GAIN = 1.3
"""Standard deviation of a matrix, times the square root of its inputs: keeps signals alive through many layers."""
TINY = 1e-9
"""Variance below which a channel counts as dead."""
LEAST_SHARE = 0.1
"""Least variance that a channel counts as having, as a share of the mean over its layer."""


def randomised_copy(module: nn.Module, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return a copy on the CPU, in eval mode, with random weights and statistics in place of the real ones.

    Matrices get normal values of deviation 1.3 / sqrt(inputs); scales, layer scales and running variances lie between
    0.5 and 1.5; biases and running means get normal values of deviation 0.3; other buffers keep signs and zeros, but
    each value is scaled by a factor from 0.5 to 1.5. Zeros, ones and tiny scales, which hide mistakes, are gone.
    Queries and keys are larger, so that each token attends to few others, and what attention gives is smaller, so that
    tokens stay different and attention matters, in deep networks too.

    Args:
        module: The network; it is left as it was.
        generator: Source of all randomness.
        dtype: Floating-point type of the copy.

    Source: PROTOTYPE section 1 (ours).
    """
    copied = copy.deepcopy(module).to(device="cpu", dtype=dtype).eval()
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(False).copy_(_random_parameter(name, parameter, generator))
        for heads in find_heads(copied):
            for path in heads.makers[:2]:
                copied.get_parameter(f"{path}.weight").mul_(PEAKED)
            copied.get_parameter(f"{heads.reader}.weight").mul_(CALM)
        for name, buffer in copied.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(_uniform(buffer, generator))
            elif name.endswith("running_mean"):
                buffer.copy_(0.3 * _normal(buffer, generator))
            elif buffer.is_floating_point():
                buffer.mul_(_uniform(buffer, generator))
    return copied


def random_inputs(inputs: Sequence[Tensor], generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return a batch of two random inputs of the same kind: normal values as spread as the given ones.

    Args:
        inputs: Example inputs, (batch, ...) each; whole numbers and truth values are kept as they are.
        generator: Source of all randomness.
        dtype: Floating-point type of the result.
    """
    made = []
    for item in first_two(inputs):
        item = item.to("cpu")
        if item.is_floating_point():
            spread = float(item.std()) if item.numel() > 1 else 0.0
            item = _normal(item.to(dtype), generator) * (spread if math.isfinite(spread) and spread > 0 else 1.0)
        made.append(item)
    return tuple(made)


def settle_statistics(module: nn.Module, inputs: Sequence[Tensor], generator: torch.Generator) -> None:
    """Give running statistics, in place, values near those that the inputs cause, so that deep networks stay in scale.

    Running means end up off by about 0.3 deviations, running variances by a factor from 0.5 to 1.5: wrong enough to
    matter, right enough that later layers still notice. Channels that hardly vary over so few inputs count as varying
    a little: scaled up to the others' size in one layer after another, their rounding errors would end up as large as
    what groups are told apart by.

    Args:
        module: A randomised network, in eval mode.
        inputs: What it is called with, (batch, ...) each.
        generator: Source of all randomness.
    """

    def settle(layer: Any, args: tuple[Tensor, ...]) -> None:
        """Set a layer's statistics by its first inputs, (batch, channels, ...)."""
        if id(layer) not in seen and args and isinstance(args[0], Tensor) and args[0].dim() > 1:
            seen.add(id(layer))
            rows = args[0].detach().transpose(0, 1).flatten(1)
            mean, variance = rows.mean(1), rows.var(1, correction=0)
            variance = torch.where(variance > TINY, variance, torch.ones_like(variance))
            variance = variance.clamp_min(LEAST_SHARE * float(variance.mean()))
            layer.running_mean.copy_(mean + 0.3 * variance.sqrt() * _normal(mean, generator))
            layer.running_var.copy_(variance * _uniform(variance, generator))

    seen: set[int] = set()
    handles = [norm.register_forward_pre_hook(settle) for norm in _with_statistics(module)]
    with hooked(handles), torch.no_grad():
        module(*(item.clone() for item in inputs))


def has_statistics(module: nn.Module) -> bool:
    """Return whether a network holds running statistics."""
    return bool(_with_statistics(module))


def first_two(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the first two entries of a batch, (2, ...) each; smaller batches are kept."""
    return tuple(item.detach()[:2] if item.dim() else item.detach() for item in inputs)


def _with_statistics(module: nn.Module) -> list[_NormBase]:
    return [m for m in module.modules() if isinstance(m, _NormBase) and m.running_mean is not None]


def _random_parameter(name: str, parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Return random values for a parameter, by its shape and the last part of its name."""
    if "bias" in name.rpartition(".")[2]:
        return 0.3 * _normal(parameter, generator)
    if sum(size > 1 for size in parameter.shape) <= 1:
        return _uniform(parameter, generator)
    return _normal(parameter, generator).mul_(GAIN / math.sqrt(_inputs_of(name, parameter)))


def _inputs_of(name: str, parameter: Tensor) -> int:
    """Return how many inputs a matrix sums over; for a table that is added, its last side."""
    is_weight = name.rpartition(".")[2].startswith(("weight", "in_proj"))
    return max(1, parameter[0].numel() if is_weight else parameter.shape[-1])


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.dtype)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator).to(like.dtype) + 0.5
