"""A subnet as a plain program of torch operations with a free batch size: what every exporter starts from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from concertina.errors import ExportError
from concertina.nest import materialize

if TYPE_CHECKING:
    from torch.export import ExportedProgram

BATCH = "batch"
"""Name of the free side in exported files."""
_TALKATIVE = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def capture(subnet: nn.Module, example_inputs: Sequence[Tensor]) -> ExportedProgram:
    """Return `subnet` as torch's export sees it, over tensors of its own.

    Args:
        subnet: A subnet, view or copy; it is left as it is.
        example_inputs: What it is called with, each (batch, ...) with a batch of 2 or more.

    Raises:
        ExportError: torch cannot export the network for every batch size.
    """
    free = materialize(subnet)
    for parameter in free.parameters():
        parameter.requires_grad_(False)
    batch = torch.export.Dim(BATCH, min=1)
    shapes = tuple({0: batch} for _ in example_inputs)
    with exporting("torch.export", type(subnet).__name__), torch.no_grad():
        return torch.export.export(free, tuple(example_inputs), dynamic_shapes=shapes)


@contextmanager
def exporting(what: str, network: str) -> Iterator[None]:
    """Keep exporters quiet, and turn whatever they raise into one `ExportError`.

    Args:
        what: Who exports, for the message.
        network: What is exported, for the message.
    """
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # exporters raise whatever they like
        said = (str(error).strip().splitlines() or ["no message"])[0][:200]
        raise ExportError(
            f"{what} cannot export {network}",
            asked=f"{type(error).__name__}: {said}",
            do="'concertina extract' writes it for PyTorch.",
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def output_tensors(outputs: object) -> tuple[Tensor, ...]:
    """Return the tensors among a network's outputs, in the order in which exported files give them.

    Example:
        >>> len(output_tensors({"a": torch.ones(1), "b": [torch.ones(2)]}))
        2
    """
    return tuple(leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor))
