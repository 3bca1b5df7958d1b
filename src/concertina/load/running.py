"""Whether a network runs and gives what can be worked with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from concertina.errors import ConcertinaError, LoadError


def run_checked(
    module: nn.Module, inputs: Sequence[Tensor], what: str, refuse: type[ConcertinaError] = LoadError
) -> Tensor:
    """Return the output of `module` on fresh copies of `inputs`, after checking that it is one finite tensor.

    Args:
        module: A network in eval mode.
        inputs: What it is called with, (batch, ...) each.
        what: How to call the network in a message.
        refuse: Kind of the error.

    Raises:
        ConcertinaError: Of kind `refuse`: it does not run, gives something else than a tensor, or values that are not
            finite.
    """
    try:
        output = module(*(item.clone() for item in inputs))
    except Exception as error:  # a user's forward may raise anything: it is reported as the cause, whatever it is
        shapes = ", ".join(str(tuple(item.shape)) for item in inputs)
        text = next(iter(str(error).splitlines()), "")
        raise refuse(
            f"{what} does not run on its example inputs of shape {shapes}", asked=f"{type(error).__name__}: {text}"
        ) from error
    if not isinstance(output, Tensor):
        raise refuse(
            f"output of {what}",
            asked=type(output).__name__,
            allowed="one tensor",
            do="Wrap the network in a module whose forward returns the tensor that matters (the logits).",
        )
    if not bool(torch.isfinite(output).all()):
        raise refuse(f"{what} gives NaN or infinite outputs on its example inputs")
    return output
