"""One layer as two, of which the width between is the rank: what such pairs look like, for layers of each kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from concertina.errors import LoadError
from concertina.registry import Registry
from concertina.types import Factor

REDUCE, EXPAND = "reduce", "expand"


class Factored(nn.Sequential):
    """A layer as two: `reduce` into `rank` numbers, `expand` out of them."""

    def __init__(self, reduce: nn.Module, expand: nn.Module, scheme: str) -> None:
        super().__init__(OrderedDict({REDUCE: reduce, EXPAND: expand}))
        self.scheme = scheme

    @property
    def weight(self) -> Tensor:
        """The one weight that both together stand for, in the shape of the layer's own."""
        first, second = self.get_submodule(REDUCE), self.get_submodule(EXPAND)
        return SCHEMES.get(self.scheme)().weight(_weight(first), _weight(second))

    @property
    def bias(self) -> Tensor | None:
        """The bias, which `expand` adds."""
        bias = self.get_submodule(EXPAND).bias
        return bias if isinstance(bias, Tensor) else None


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


class Scheme(ABC):
    """How layers of a kind are written as two."""

    @abstractmethod
    def fits(self, layer: nn.Module) -> bool:
        """Return whether a layer is of this kind."""

    @abstractmethod
    def limits(self, layer: Any) -> tuple[int, int]:
        """Return the sides of the layer's weight as a matrix, (rows, columns): no rank is above either."""

    @abstractmethod
    def build(self, layer: Any, factor: Factor) -> nn.Module:
        """Return what stands in the layer's place, on its device, with values that do not matter."""

    @abstractmethod
    def weight(self, reduce: Tensor, expand: Tensor) -> Tensor:
        """Return the layer's weight from those of the two."""


class MatrixScheme(Scheme):
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


SCHEMES: Registry[type[Scheme]] = Registry("way to factorise")


def put_factored(module: nn.Module, factored: Mapping[str, Factor]) -> None:
    """Replace layers by pairs of the right shapes, in place; values do not matter.

    Args:
        module: The network.
        factored: Path of a layer -> how it is factorised.

    Raises:
        LoadError: There is no such layer, it is of another kind, or the rank is none that it could have.
    """
    modules = dict(module.named_modules())
    for path, factor in factored.items():
        layer = modules.get(path)
        if factor.scheme not in SCHEMES or layer is None or not SCHEMES.get(factor.scheme)().fits(layer):
            kind = type(layer).__name__ if layer is not None else "no module of this name"
            raise LoadError(f"factorised layer {path!r}", asked=kind, allowed=f"a layer of the way {factor.scheme!r}")
        scheme = SCHEMES.get(factor.scheme)()
        if not 0 < factor.rank <= min(scheme.limits(layer)):
            allowed = f"1 to {min(scheme.limits(layer))}"
            raise LoadError(f"rank of layer {path!r}", asked=str(factor.rank), allowed=allowed)
        replace_module(module, path, scheme.build(layer, factor))


def pairs_in(module: nn.Module) -> tuple[str, ...]:
    """Return the paths of all layers of a network that are written as two."""
    return tuple(path for path, layer in module.named_modules() if isinstance(layer, Factored))


def replace_module(module: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` in the place of the module at `path`, in its mode."""
    parent, _, name = path.rpartition(".")
    held = module.get_submodule(parent)
    setattr(held, name, new.train(held.get_submodule(name).training))
