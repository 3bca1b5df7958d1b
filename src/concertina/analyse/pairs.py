"""Ways to write a layer as two: linear layers by rank, convolutions by channel or by space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concertina.analyse.factored import Factored, MatrixWay
from concertina.analyse.rewriting import WAYS
from concertina.types import Rewrite


@WAYS.register("linear", source="truncated singular value decomposition, Eckart and Young 1936", year=1936)
class Linear(MatrixWay):
    """A linear layer as two: (in, rank) and (rank, out)."""

    def fits(self, layer: nn.Module) -> bool:
        """Return whether it is a linear layer of torch."""
        return type(layer) is nn.Linear

    def matrix(self, layer: nn.Linear) -> Tensor:
        """Return the weight (out, in)."""
        return layer.weight.detach()

    def build(self, layer: nn.Linear, how: Rewrite) -> nn.Module:
        """Return two linear layers; the second has the bias."""
        place: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        reduce = nn.Linear(layer.in_features, how.rank, bias=False, **place)
        expand = nn.Linear(how.rank, layer.out_features, bias=layer.bias is not None, **place)
        return Factored(reduce, expand, "linear")

    def weight(self, reduce: Tensor, expand: Tensor) -> Tensor:
        """Return the weight (out, in)."""
        return expand @ reduce

    def patches(self, layer: nn.Linear, inputs: Tensor) -> Tensor:
        """Return the inputs as rows."""
        return inputs.reshape(-1, layer.in_features)

    def cost(self, layer: nn.Linear) -> tuple[float, float]:
        """Return what the layer and each rank multiply."""
        return layer.in_features * layer.out_features, layer.in_features + layer.out_features


class _Conv(MatrixWay):
    """What both ways for convolutions have in common."""

    def fits(self, layer: nn.Module) -> bool:
        """Return whether it is a two-dimensional convolution in one group, padded by zeros."""
        return (
            type(layer) is nn.Conv2d
            and layer.groups == 1
            and layer.padding_mode == "zeros"
            and not isinstance(layer.padding, str)
        )


@WAYS.register("channel", source="Zhang et al. 2015 (arXiv:1505.06798)", year=2015)
class Channel(_Conv):
    """A convolution as one of `rank` filters and one of 1x1 over them."""

    def matrix(self, layer: nn.Conv2d) -> Tensor:
        """Return the weight as (out, in * height * width)."""
        return layer.weight.detach().flatten(1)

    def build(self, layer: nn.Conv2d, how: Rewrite) -> nn.Module:
        """Return the convolution with `rank` filters, and one of 1x1 that has the bias."""
        sides = {name: _two(getattr(layer, name)) for name in _NEUTRAL}
        return _convs(layer, how, sides, dict.fromkeys(_NEUTRAL, (1, 1)) | {"padding": (0, 0)})

    def weight(self, reduce: Tensor, expand: Tensor) -> Tensor:
        """Return the weight (out, in, height, width)."""
        return torch.einsum("orhw,rijk->oijk", expand, reduce)

    def patches(self, layer: nn.Conv2d, inputs: Tensor) -> Tensor:
        """Return every patch that a filter sees, as a row."""
        sides = {name: _two(getattr(layer, name)) for name in _NEUTRAL}
        columns = F.unfold(inputs, **sides)
        return columns.transpose(1, 2).reshape(-1, columns.shape[1])

    def cost(self, layer: nn.Conv2d) -> tuple[float, float]:
        """Return what the layer and each rank multiply, per output position."""
        patch = layer.weight[0].numel()
        return patch * layer.out_channels, patch + layer.out_channels


@WAYS.register("spatial", source="Jaderberg et al. 2014 (arXiv:1405.3866)", year=2014)
class Spatial(_Conv):
    """A convolution as `rank` columns and then rows over them."""

    def fits(self, layer: nn.Module) -> bool:
        """Return whether it is a convolution that is wider and higher than one."""
        return super().fits(layer) and min(_two(layer.kernel_size)) > 1

    def matrix(self, layer: nn.Conv2d) -> Tensor:
        """Return the weight as (out * width, in * height)."""
        weight = layer.weight.detach().permute(0, 3, 1, 2)
        return weight.reshape(weight.shape[0] * weight.shape[1], -1)

    def build(self, layer: nn.Conv2d, how: Rewrite) -> nn.Module:
        """Return a convolution of columns (height, 1), and one of rows (1, width) that has the bias."""
        sides = {name: (_two(getattr(layer, name)), neutral) for name, neutral in _NEUTRAL.items()}
        down = {name: (side[0], neutral) for name, (side, neutral) in sides.items()}
        along = {name: (neutral, side[1]) for name, (side, neutral) in sides.items()}
        return _convs(layer, how, down, along)

    def weight(self, reduce: Tensor, expand: Tensor) -> Tensor:
        """Return the weight (out, in, height, width)."""
        return torch.einsum("orw,rih->oihw", expand[:, :, 0], reduce[:, :, :, 0])

    def patches(self, layer: nn.Conv2d, inputs: Tensor) -> Tensor:
        """Return every column of pixels that a filter sees, as a row."""
        sides = {name: (_two(getattr(layer, name))[0], neutral) for name, neutral in _NEUTRAL.items()}
        columns = F.unfold(inputs, **sides)
        return columns.transpose(1, 2).reshape(-1, columns.shape[1])

    def cost(self, layer: nn.Conv2d) -> tuple[float, float]:
        """Return what the layer and each rank multiply, per output position; columns are made at full width."""
        height, width = _two(layer.kernel_size)
        whole = float(layer.in_channels * height * width * layer.out_channels)
        return whole, layer.in_channels * height * _two(layer.stride)[1] + width * layer.out_channels


_NEUTRAL = {"kernel_size": 1, "dilation": 1, "padding": 0, "stride": 1}


def _convs(
    layer: nn.Conv2d, how: Rewrite, first: Mapping[str, tuple[int, int]], second: Mapping[str, tuple[int, int]]
) -> nn.Module:
    """Return two convolutions with few channels between them, on the layer's device; the second has the bias."""
    rank = how.rank
    place: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    reduce = nn.Conv2d(layer.in_channels, rank, bias=False, **first, **place)  # type: ignore[arg-type]
    expand = nn.Conv2d(rank, layer.out_channels, bias=layer.bias is not None, **second, **place)  # type: ignore[arg-type]
    return Factored(reduce, expand, how.way)


def _two(size: Any) -> tuple[int, int]:
    """Return a declared size as (height, width)."""
    first, second = size if isinstance(size, tuple) else (size, size)
    return first, second
