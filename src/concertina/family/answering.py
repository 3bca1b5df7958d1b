"""Answers of a batch in which every sample has modules of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from concertina.errors import InputError, some
from concertina.family.modules import BASE

Answers = Tensor | list[Tensor]
"""(batch, ...), or one tensor a sample where they have different shapes."""


def answered(inputs: Sequence[Tensor], wanted: Sequence[str], network: Callable[[str], nn.Module]) -> Answers:
    """Return the answers of every sample by the network that it wants.

    Samples that want the same go through it together, so the whole batch costs as many passes as there are different
    wishes, and each sample is computed once. Every wish is looked up before anything is computed.

    Args:
        inputs: The network's inputs, samples along the first side of each.
        wanted: What each sample wants, in the order of the batch.
        network: Wish -> network.
    """
    networks = {wish: network(wish) for wish in dict.fromkeys(wanted)}
    rows = {wish: [i for i, other in enumerate(wanted) if other == wish] for wish in networks}
    found: list[Tensor] = [torch.empty(0)] * len(wanted)
    with torch.inference_mode():
        for wish, module in networks.items():
            outputs = _run(module, [x[rows[wish]] for x in inputs] if len(networks) > 1 else inputs)
            for row, output in zip(rows[wish], outputs, strict=True):
                found[row] = output
    if len({output.shape for output in found}) == 1:
        return torch.stack(found)
    return found


def _run(module: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """Return a network's outputs; raises `InputError` where it cannot take the inputs."""
    try:
        found: Tensor = module(*inputs)
    except RuntimeError as error:
        shapes = some([f"{x.dtype} of shape {tuple(x.shape)}" for x in inputs])
        raise InputError(
            "inputs", asked=f"{shapes}: {str(error)[:100]}", allowed="inputs as the network takes"
        ) from error
    return found


def check_inputs(inputs: Tensor | Sequence[Tensor], examples: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return inputs as a tuple.

    Args:
        inputs: One tensor, or one for each input of the network.
        examples: The network's example inputs.

    Raises:
        InputError: They are not as many, have no samples, or not equally many.
    """
    listed = isinstance(inputs, Sequence) and not isinstance(inputs, str)
    given = tuple(inputs) if listed else (inputs,)
    if len(given) != len(examples) or not all(isinstance(x, Tensor) and x.dim() for x in given):
        asked = some([str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in given])
        raise InputError("inputs", asked=asked or "none", allowed=f"{len(examples)} tensors with a side of samples")
    if len({len(x) for x in given}) != 1 or not len(given[0]):
        raise InputError("inputs", asked=some([str(len(x)) for x in given]) + " samples", allowed="equally many, 1 up")
    return given


def wishes(modules: str | Sequence[str | Sequence[str] | None], samples: int) -> list[str]:
    """Return what each sample wants, as texts.

    Args:
        modules: One composition for all, or a list with one for each sample; None is none.
        samples: How many there are.

    Raises:
        InputError: The list has another length.

    Example:
        >>> wishes(["reviews", "__base__"], 2), wishes("reviews", 2)
        (['reviews', '__base__'], ['reviews', 'reviews'])
    """
    if isinstance(modules, str):
        return [modules] * samples
    if not isinstance(modules, Sequence) or not all(
        each is None or isinstance(each, str | Sequence) for each in modules
    ):
        raise InputError("modules", asked=repr(modules)[:100], allowed="names, or a list of them")
    if len(modules) != samples:
        raise InputError("modules", asked=f"a list of {len(modules)}", allowed=f"{samples}: one for each sample")
    return [each if isinstance(each, str) else ",".join(each or [BASE]) for each in modules]
