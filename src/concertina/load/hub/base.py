"""What a library of pre-trained networks is to Concertina: names to load, and data to build from."""

from __future__ import annotations

import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from concertina.errors import ConcertinaError, ExtraError, LoadError, how_to_install
from concertina.registry import Registry
from concertina.types import Preprocess

MAX_VALUES = 2**31
"""Most values that the tensors of a network may have together."""
MAX_PARTS = 12_000
"""Most modules and tensors of a network: a configuration may come from a file that somebody else wrote."""
BY_HAND = "Build it yourself and give the module: ct.load(module, example_inputs)."
"""What to do with a network that no rule knows."""


@dataclass(frozen=True, eq=False)
class Found:
    """A network of a library, and what its folder says of it."""

    module: nn.Module
    """Takes tensors and gives one tensor back."""
    arguments: Mapping[str, Any]
    """What `Library.build` makes the same architecture from, JSON values only."""
    example_inputs: tuple[Tensor, ...]
    """Inputs of a batch of two, the same at every call."""
    task: str
    """Name of the task that its head is for."""
    class_names: tuple[str, ...] = ()
    """Class names in the order of the outputs."""
    preprocess: Preprocess = field(default_factory=Preprocess)
    """What images go through."""
    licence: str = ""
    """Licence of the weights, as the model card states it."""


class Library(ABC):
    """A library of pre-trained networks; final classes only, found through `LIBRARIES`."""

    scheme: str
    """What stands before the colon of its names."""
    extra: str
    """The extra that installs it."""
    package: str
    """The package that is imported, late."""

    @abstractmethod
    def load(self, name: str, *, random: bool) -> Found:
        """Return a network by name.

        Args:
            name: A folder, or a name on the hub.
            random: Whether the weights are drawn instead of read.

        Raises:
            LoadError: There is no such network, or it cannot be used; the text says what can.
            ExtraError: The library is not installed.
        """

    @abstractmethod
    def build(self, arguments: Mapping[str, Any], most: int = MAX_VALUES) -> nn.Module:
        """Return an architecture from data, in eval mode, with values that do not matter.

        Args:
            arguments: What `Found.arguments` held; they may come from a file that somebody else wrote.
            most: Most values that its tensors may have together.

        Raises:
            LoadError: They are not what `load` makes; nothing that they name is fetched or run.
            ExtraError: The library is not installed.
        """

    def imported(self) -> Any:
        """Return the package, imported now.

        Raises:
            ExtraError: It is not installed; the text tells how to get it.
        """
        try:
            return importlib.import_module(self.package)
        except ImportError as error:
            raise ExtraError(
                f"networks of '{self.scheme}:' need a package that is not installed",
                asked=error.name or self.package,
                do=how_to_install(self.extra),
            ) from error


LIBRARIES: Registry[type[Library]] = Registry("library")


def is_library(source: str) -> bool:
    """Return whether a source is a network of a library: "hf:NAME", "timm:NAME".

    Example:
        >>> is_library("hf:org/name"), is_library("zoo:mlp")
        (True, False)
    """
    scheme, colon, _ = source.partition(":")
    return bool(colon) and scheme in LIBRARIES


def library_of(source: str) -> Library:
    """Return the library that a source names; raises `UnknownNameError` where there is none."""
    return LIBRARIES.get(source.partition(":")[0])()


def built(make: Callable[[], nn.Module], what: str, most: int) -> nn.Module:
    """Return what `make` builds in eval mode, once it is seen on paper that it is not too large.

    Args:
        make: Builds the network; called twice, first without memory for values.
        what: How to call the network in messages.
        most: Most values that its tensors may have together.

    Raises:
        LoadError: It cannot be built, or is too large.
    """
    try:
        with _counting(what), torch.device("meta"):
            planned = make()
        size = sum(tensor.numel() for tensor in (*planned.parameters(), *planned.buffers()))
        if size > most:
            raise LoadError(what, asked=f"{size:,} values", allowed=f"up to {most:,}")
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(0)
            return make().eval()
    except ConcertinaError:
        raise
    except Exception as error:  # whatever an ill-fitting configuration makes the library raise is told as the cause
        raise LoadError(f"{what} cannot be built", asked=told(error)) from error


def told(error: Exception, lines: int = 3) -> str:
    """Return what a library's error says in its first lines, as one and cut to a readable length."""
    said = " ".join(line.strip() for line in str(error).splitlines()[:lines])
    return f"{type(error).__name__}: {said}"[:300]


@contextmanager
def _counting(what: str) -> Iterator[None]:
    """Stop whoever builds more modules in this thread than any network has."""
    thread = threading.get_ident()
    seen = 0

    def count(*_: object) -> None:
        """Count a part, and stop at too many."""
        nonlocal seen
        if threading.get_ident() == thread:
            seen += 1
            if seen > MAX_PARTS:
                raise LoadError(what, asked=f"over {MAX_PARTS:,} modules and tensors", allowed="fewer")

    handles = [
        registration.register_module_module_registration_hook(count),
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
