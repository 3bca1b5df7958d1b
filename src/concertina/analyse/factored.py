"""One layer as two, of which the width between is the rank."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from concertina.analyse.rewriting import WAYS, Way

REDUCE, EXPAND = "reduce", "expand"


class Factored(nn.Sequential):
    """A layer as two: `reduce` into `rank` numbers, `expand` out of them."""

    def __init__(self, reduce: nn.Module, expand: nn.Module, way: str) -> None:
        super().__init__(OrderedDict({REDUCE: reduce, EXPAND: expand}))
        self.way = way

    @property
    def weight(self) -> Tensor:
        """The one weight that both together stand for, in the shape of the layer's own."""
        first: Any = self.get_submodule(REDUCE)
        second: Any = self.get_submodule(EXPAND)
        return pair_way(self.way).weight(first.weight, second.weight)

    @property
    def bias(self) -> Tensor | None:
        """The bias, which `expand` adds."""
        bias = self.get_submodule(EXPAND).bias
        return bias if isinstance(bias, Tensor) else None


class PairWay(Way):
    """How layers of a kind are written as two."""

    @abstractmethod
    def weight(self, reduce: Tensor, expand: Tensor) -> Tensor:
        """Return the layer's weight from those of the two."""


class MatrixWay(PairWay):
    """How layers are written as two whose weight is a matrix, rows made and columns read."""

    @abstractmethod
    def matrix(self, layer: Any) -> Tensor:
        """Return the layer's weight as the matrix (rows, columns) that is factorised."""

    @abstractmethod
    def patches(self, layer: Any, inputs: Tensor) -> Tensor:
        """Return what the columns are multiplied with, (samples, columns)."""

    @abstractmethod
    def cost(self, layer: Any) -> tuple[float, float]:
        """Return multiply-accumulates per output position: of the layer, and of each rank."""

    def limits(self, layer: Any) -> tuple[int, int]:
        """Return the sides of the matrix."""
        rows, columns = self.matrix(layer).shape
        return rows, columns


def pair_way(name: str) -> PairWay:
    """Return the way of a name, one that writes layers as two."""
    way: Any = WAYS.get(name)()
    found: PairWay = way
    return found


def pairs_in(module: nn.Module) -> tuple[str, ...]:
    """Return the paths of all layers of a network that are written as two."""
    return tuple(path for path, layer in module.named_modules() if isinstance(layer, Factored))
