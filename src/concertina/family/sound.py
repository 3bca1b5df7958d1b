"""Whether a family still is what it was made as: asked before it is written to a file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from concertina.errors import InputError, some
from concertina.load.weights import not_finite
from concertina.nest import Supernet, named_tensors, subnet_tensors


def check_sound(declared: nn.Module, supernet: Supernet) -> None:
    """Refuse a supernet whose tensors have lost their dtype, shape or finite values.

    Args:
        declared: The network as loaded; its tensors have the dtypes and shapes that are right.
        supernet: The family.

    Raises:
        InputError: The text names the tensors.
    """
    right = {name: tensor.detach() for name, tensor in named_tensors(declared).items()}
    wrong = _misfits(named_tensors(supernet.module), right)
    wrong += [f"{name!r} with NaN or infinite values" for name in not_finite(supernet.module)]
    for point, private in supernet.private.items() if not wrong else ():
        shared = subnet_tensors(supernet.space, supernet.points[point].spec, right)
        misfits = _misfits(private, {name: shared.get(name, tensor) for name, tensor in private.items()})
        bad = [f"{name!r} with NaN or infinite values" for name, t in private.items() if not torch.isfinite(t).all()]
        wrong += [f"{what} (private to {point!r})" for what in (*misfits, *bad)]
    if wrong:
        raise InputError(
            "tensors of this family are not as they were made, so it is not saved",
            asked=some(wrong, 4),
            do="Fit or open it again, and change copies only: .materialize() gives one.",
        )


def _misfits(found: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> list[str]:
    """Return what is wrong with names, dtypes and shapes, in words."""
    words = [f"{name!r} missing" for name in right if name not in found]
    words += [f"{name!r} added" for name in found if name not in right]
    for name in found.keys() & right.keys():
        kinds = [(str(t.dtype).removeprefix("torch."), tuple(t.shape)) for t in (found[name], right[name])]
        if kinds[0] != kinds[1]:
            words.append(f"{name!r} of {kinds[0][0]} {kinds[0][1]} instead of {kinds[1][0]} {kinds[1][1]}")
    return sorted(words)
