"""What a network takes and gives: names, dtypes and shapes, checked before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concertina.errors import InputError
from concertina.types import Core

FREE = -1
"""A side of any length, in a shape."""


@dataclass(frozen=True)
class Slot:
    """One input or output."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    """Sides; the first, and others that are free, are -1."""
    longest: int = 0
    """Most positions along free sides other than the first."""

    def largest(self, samples: int) -> int:
        """Return the most numbers that so many samples can hold.

        Example:
            >>> Slot("x", torch.int64, (-1, -1), longest=8).largest(2)
            16
        """
        count = samples
        for side in self.shape[1:]:
            count *= self.longest if side == FREE else side
        return count

    def check(self, shape: Sequence[int], most: int) -> None:
        """Refuse a shape that does not fit; nothing needs to be there yet.

        Args:
            shape: All sides.
            most: Most samples.

        Raises:
            InputError: The text names the shapes that are allowed.
        """
        good = len(shape) == len(self.shape) and 1 <= shape[0] <= most
        sides = zip(shape[1:], self.shape[1:], strict=False)
        if not good or not all(1 <= side <= self.longest if want == FREE else side == want for side, want in sides):
            rest = [f"1 to {self.longest}" if side == FREE else str(side) for side in self.shape[1:]]
            asked = ", ".join(str(side)[:20] for side in shape[:8]) + (", ..." if len(shape) > 8 else "")
            allowed = ", ".join((f"1 to {most}", *rest))
            raise InputError(f"shape of input {self.name!r}", asked=f"[{asked}]", allowed=f"[{allowed}]")


@dataclass(frozen=True)
class Signature:
    """All inputs and outputs of a network."""

    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]

    def check(self, tensors: Sequence[Tensor], most: int) -> int:
        """Return how many samples there are in inputs that fit.

        Args:
            tensors: One for each input.
            most: Most samples.

        Raises:
            InputError: They do not fit; the text says which and what is allowed.
        """
        if len(tensors) != len(self.inputs):
            names = ", ".join(slot.name for slot in self.inputs)
            raise InputError("inputs", asked=str(len(tensors)), allowed=f"{len(self.inputs)} ({names})")
        for slot, tensor in zip(self.inputs, tensors, strict=True):
            if tensor.dtype != slot.dtype:
                asked, allowed = (str(dtype).removeprefix("torch.") for dtype in (tensor.dtype, slot.dtype))
                raise InputError(f"dtype of input {slot.name!r}", asked=asked, allowed=allowed)
            slot.check(tensor.shape, most)
        self.check_together([tensor.shape for tensor in tensors])
        return len(tensors[0])

    def check_together(self, shapes: Sequence[Sequence[int]]) -> None:
        """Refuse shapes that fit one by one but not with each other.

        Raises:
            InputError: Free sides differ.
        """
        free = {
            tuple(side for side, want in zip(shape, slot.shape, strict=True) if want == FREE)
            for shape, slot in zip(shapes, self.inputs, strict=True)
        }
        if len({sides[0] for sides in free}) > 1 or len({sides for sides in free if len(sides) > 1}) > 1:
            asked = " and ".join(str(list(shape)) for shape in shapes)
            raise InputError("shapes of the inputs", asked=asked, allowed="as many samples and positions in each")


def signature_of(core: Core, outputs: Sequence[Tensor], *, free_length: bool) -> Signature:
    """Return what a network takes and gives.

    Args:
        core: Tells the inputs.
        outputs: What it gave for its example inputs.
        free_length: Whether rows of tokens may be shorter than the example's.
    """
    names = _input_names(core)
    tokens = free_length and all(_is_tokens(tensor) for tensor in core.example_inputs)
    inputs = tuple(
        Slot(name, tensor.dtype, (FREE, FREE) if tokens else (FREE, *tensor.shape[1:]), tensor.shape[-1])
        for name, tensor in zip(names, core.example_inputs, strict=True)
    )
    length = core.example_inputs[0].shape[-1] if tokens else 0
    given = tuple(
        Slot(
            "output" if len(outputs) == 1 else f"output_{place}",
            tensor.dtype,
            (FREE, *(FREE if tokens and side == length else side for side in tensor.shape[1:])),
            length,
        )
        for place, tensor in enumerate(outputs)
    )
    return Signature(inputs, given)


def _is_tokens(tensor: Tensor) -> bool:
    return tensor.ndim == 2 and not tensor.is_floating_point()


def _input_names(core: Core) -> list[str]:
    """Return the names of the network's parameters, as exported files have them; input_0 and on where it has none."""
    try:
        known = [
            p.name
            for p in inspect.signature(core.module.forward).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        known = []
    count = len(core.example_inputs)
    return known[:count] if len(known) >= count else [f"input_{place}" for place in range(count)]
