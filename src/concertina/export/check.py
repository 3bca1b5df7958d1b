"""Whether an exported file computes what its subnet computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from concertina.errors import ExportError
from concertina.export.capture import output_tensors

TOLERANCE = 1e-4
"""Largest allowed difference, as a share of the largest output."""
BATCHES = (1, 2, 5)
"""Batch sizes that are tried."""
DATA_LIMIT, DATA_BATCH = 1000, 64
"""How many real inputs are compared, and how many of them in one call."""


@dataclass(frozen=True)
class Agreement:
    """How closely a file was found to follow its subnet."""

    max_relative_error: float
    """Largest difference of any output, as a share of the largest output of that call."""
    num_inputs: int
    """Inputs compared."""
    num_real: int
    """How many of them were data."""
    batches: tuple[int, ...]
    """Batch sizes compared."""
    top1: bool
    """Whether the first choice was compared too, on the real inputs."""


def check(
    program: Callable[..., Sequence[Tensor]],
    subnet: nn.Module,
    example_inputs: Sequence[Tensor],
    *,
    what: str,
    data: Sequence[Tensor] | None = None,
    top1: bool = False,
) -> Agreement:
    """Compare an exported program with its subnet, on made-up inputs at several batch sizes and on data.

    Args:
        program: The file, loaded.
        subnet: What it was made from, in eval mode.
        example_inputs: What the subnet is called with, each (batch, ...).
        what: What is compared, for the message.
        data: Real inputs, each (samples, ...); the first thousand are compared.
        top1: Whether the largest of the first output's last side must be the same on every real input.

    Returns:
        How closely they agree.

    Raises:
        ExportError: They differ, by more than 1e-4 of the largest output or in a first choice.
    """
    worst, sizes, num_real = 0.0, set(), 0
    for inputs, is_real in _calls(example_inputs, data):
        size = len(inputs[0])
        with torch.inference_mode():
            expected = output_tensors(subnet(*inputs))
        found = program(*inputs)
        error = _relative_error(found, expected)
        if not error <= TOLERANCE:
            raise ExportError(
                f"{what} does not compute what the subnet does",
                asked=f"a relative error of {error:.1e} at batch {size}",
                allowed=f"{TOLERANCE:.0e}",
            )
        if is_real and top1:
            _check_first_choice(found[0], expected[0], what)
        worst, num_real = max(worst, error), num_real + size * is_real
        sizes.add(size)
    return Agreement(worst, sum(BATCHES) + num_real, num_real, tuple(sorted(sizes)), top1 and num_real > 0)


def _calls(example: Sequence[Tensor], data: Sequence[Tensor] | None) -> Iterator[tuple[tuple[Tensor, ...], bool]]:
    """Yield (inputs, whether they are data) for each call to compare."""
    generator = torch.Generator().manual_seed(0)
    for size in BATCHES:
        yield tuple(_like(tensor, size, generator) for tensor in example), False
    total = min(len(data[0]), DATA_LIMIT) if data else 0
    for start in range(0, total, DATA_BATCH):
        yield tuple(tensor[start : min(start + DATA_BATCH, total)] for tensor in data or ()), True


def _like(tensor: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Return `size` rows of `tensor` (batch, ...) drawn anew; numbers with a point are jittered by their spread."""
    rows = tensor[torch.randint(len(tensor), (size,), generator=generator)].clone()
    if not rows.is_floating_point():
        return rows
    noise = torch.randn(rows.shape, generator=generator, dtype=torch.float32).to(rows.dtype)
    return rows + tensor.float().std().nan_to_num(1.0).to(rows.dtype) * noise


def _relative_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest relative error of any output; infinity where their numbers or shapes differ, or NaN."""
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
        return float("inf")
    errors = [_error_of(one.double(), other.double()) for one, other in zip(found, expected, strict=True)]
    return max((error if error == error else float("inf") for error in errors), default=0.0)


def _error_of(found: Tensor, expected: Tensor) -> float:
    if expected.numel() == 0:
        return 0.0
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def _check_first_choice(found: Tensor, expected: Tensor, what: str) -> None:
    other = int((found.argmax(-1) != expected.argmax(-1)).sum())
    if other:
        raise ExportError(
            f"{what} gives another first choice than the subnet",
            asked=f"{other} of {expected.argmax(-1).numel()} real inputs",
            allowed="none",
        )
