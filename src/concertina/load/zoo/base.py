"""The zoo: small networks that are rebuilt from a name and plain arguments."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import LoadError
from concertina.registry import Registry
from concertina.types import Preprocess

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
"""Where the packaged weights lie."""
DIGITS_PREPROCESS = Preprocess(scale=1 / 16, mean=(0.305,), std=(0.376,))
"""Scikit-learn's digits hold values from 0 to 16; mean and deviation are those of its training part."""
DIGITS_CLASSES = tuple("0123456789")
MAX_ARGUMENT = 4096
"""Largest number that an argument may hold: arguments may come from a file that somebody else wrote."""
MAX_TOKENS = 2**20
"""The same for the argument that says how many token ids there are."""
MAX_VALUES = 2**28
"""Most values that the parameters of a network, or one of its inputs, may have."""


@dataclass(frozen=True)
class ZooNetwork:
    """One network of the zoo: how to build it, what it eats, and which weights come with it."""

    module: Callable[..., nn.Module]
    """The network's class; every constructor argument is a keyword with a default."""
    input_shape: Callable[..., tuple[int, ...]]
    """Shape of one input, from the same arguments."""
    preprocess: Preprocess
    """What the inputs go through."""
    class_names: tuple[str, ...] = ()
    """Class names in the order of the outputs."""
    task: str = "classification"
    """Name of the task."""
    augment: str = "none"
    """Name of the augmentation that suits its inputs."""
    weights: str = ""
    """File name of the packaged weights; empty when none come along."""
    adapt: Callable[[Mapping[str, Tensor], Mapping[str, Any]], dict[str, Tensor]] | None = None
    """Turns the tensors of a checkpoint into the network's own, given its arguments; none: they are the same."""
    tokens: str = ""
    """Name of the argument that says how many token ids there are, for networks that read ids instead of numbers."""

    def __post_init__(self) -> None:
        """Take over the module's docstring, which the registry shows."""
        object.__setattr__(self, "__doc__", self.module.__doc__)

    @property
    def defaults(self) -> dict[str, Any]:
        """The arguments and their defaults, JSON values only."""
        found = inspect.signature(self.module).parameters
        return {name: _as_json(parameter.default) for name, parameter in found.items()}

    @property
    def weights_path(self) -> Path | None:
        """Path of the packaged weights; None when none come along."""
        return WEIGHTS_FOLDER / self.weights if self.weights else None

    def complete(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return `arguments` together with the defaults of those left out.

        Raises:
            LoadError: An argument is unknown or of another kind than its default.
        """
        defaults = self.defaults
        for name, value in arguments.items():
            if name not in defaults:
                raise LoadError("argument of a zoo network", asked=repr(name), allowed=", ".join(defaults))
            top = MAX_TOKENS if name == self.tokens else MAX_ARGUMENT
            if not _same_kind(value, defaults[name], top):
                raise LoadError(f"argument {name!r}", asked=repr(value), allowed=f"a value like {defaults[name]!r}")
        return {**defaults, **{name: _as_json(value) for name, value in arguments.items()}}

    def build(self, **arguments: Any) -> nn.Module:
        """Return the network with freshly initialised weights, in train mode as torch leaves it.

        Raises:
            LoadError: An argument is unknown, of the wrong kind, does not fit the others, or makes
                the network too large.
        """
        complete = self.complete(arguments)
        try:
            with torch.device("meta"):
                size = sum(parameter.numel() for parameter in self.module(**complete).parameters())
            _check_size(size, complete)
            return self.module(**complete)
        except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
            raise LoadError(f"zoo network cannot be built with {complete}", asked=str(error)) from error

    def example_inputs(self, **arguments: Any) -> tuple[Tensor, ...]:
        """Return a batch of two inputs, the same at every call; shape (2, *input_shape), token ids without padding."""
        complete = self.complete(arguments)
        shape = self.input_shape(**complete)
        _check_size(math.prod(shape), complete)
        generator = torch.Generator().manual_seed(0)
        if self.tokens:
            return (
                torch.randint(
                    min(1, complete[self.tokens] - 1), complete[self.tokens], (2, *shape), generator=generator
                ),
            )
        return (torch.randn(2, *shape, generator=generator),)


ZOO: Registry[ZooNetwork] = Registry("zoo network")


def _check_size(values: int, arguments: Mapping[str, Any]) -> None:
    """Refuse networks and inputs that no zoo network is meant to have."""
    if values > MAX_VALUES:
        raise LoadError(f"zoo network of {dict(arguments)}", asked=f"{values} values", allowed=f"up to {MAX_VALUES}")


def _as_json(value: Any) -> Any:
    """Return tuples as lists, as JSON would."""
    return list(value) if isinstance(value, tuple) else value


def _same_kind(value: Any, default: Any, top: int) -> bool:
    """Return whether `value` may stand where `default` stands; no number above `top`."""
    if isinstance(default, list):
        return isinstance(value, list | tuple) and 1 <= len(value) <= 16 and all(_in_range(item, top) for item in value)
    if isinstance(default, int):
        return _in_range(value, top)
    return isinstance(value, type(default))


def _in_range(value: Any, top: int) -> bool:
    """Return whether `value` is a whole number from 1 to `top`."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= top
