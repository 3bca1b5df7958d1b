"""The values of layers written as two, and what the network's inputs say of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from concertina.analyse.factored import EXPAND, REDUCE, MatrixWay
from concertina.analyse.rewriting import WAYS
from concertina.types import Rewrite

DAMPING = 1e-4
"""Share of the mean second moment that is added to all, so that inputs never seen do not count as free."""
ROWS = 4096
"""About how many rows of a batch go into second moments: patches of an image lie close together."""


def decomposed(layer: nn.Module, how: Rewrite, moment: Tensor | None) -> tuple[nn.Module, float]:
    """Return a layer as two, and the share of its energy (squared singular values) that they keep.

    Args:
        layer: The layer.
        how: The way, one by a matrix, and the rank.
        moment: (columns, columns) second moments of what its columns are multiplied with; energy then counts in
            outputs. Without, it counts in weights.

    Source: DRONE (Chen et al., NeurIPS 2021); without moments, Eckart and Young 1936.
    """
    way: Any = WAYS.get(how.way)()
    matrix, back = way.matrix(layer).double(), None
    if moment is not None:
        damping = DAMPING * moment.diagonal().mean().clamp_min(1e-12)
        back = torch.linalg.cholesky(moment + damping * torch.eye(len(moment), dtype=moment.dtype))
        matrix = matrix @ back
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    energy, right = values.square(), right[: how.rank]
    if back is not None:
        right = torch.linalg.solve_triangular(back, right, upper=False, left=False)
    root = values[: how.rank].sqrt()
    made = way.build(layer, how)
    _fill(made, root[:, None] * right, left[:, : how.rank] * root, layer.bias)
    return made, float(energy[: how.rank].sum() / energy.sum().clamp_min(1e-30))


def _fill(pair: nn.Module, reduce: Tensor, expand: Tensor, bias: object) -> None:
    """Put matrices (rank, columns) and (rows, rank) into the two layers of a pair."""
    before: Any = pair.get_submodule(REDUCE)
    behind: Any = pair.get_submodule(EXPAND)
    first, second = before.weight, behind.weight
    with torch.no_grad():
        first.copy_(reduce.reshape(first.shape))
        if second.dim() == 4 and second.shape[3] > 1:  # rows are (out, width)
            out, rank, _, width = second.shape
            expand = expand.reshape(out, width, rank).transpose(1, 2)
        second.copy_(expand.reshape(second.shape))
        if isinstance(bias, Tensor):
            behind.bias.copy_(bias)


def second_moments(
    module: nn.Module, chosen: Mapping[str, Rewrite], batches: Iterable[Sequence[Tensor]]
) -> dict[str, Tensor]:
    """Return path -> mean of outer products (columns, columns) of what each layer's columns are multiplied with.

    For a table of embeddings: how often each word came, (words,).

    Args:
        module: The network, in eval mode.
        chosen: Path -> how the layer is to be written as two.
        batches: Inputs of the network.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def note(path: str, how: Rewrite) -> RemovableHandle:
        """Sum up what a layer is given, until the handle is removed."""
        way = WAYS.get(how.way)()

        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            """Add the second moments of one call's inputs."""
            if isinstance(way, MatrixWay):
                rows = way.patches(layer, inputs[0].detach())
                rows = rows[:: max(1, len(rows) // ROWS)].double()
                counts[path] = counts.get(path, 0) + len(rows)
                seen = rows.T @ rows
            else:
                counts[path] = 1
                seen = torch.bincount(inputs[0].flatten().cpu(), minlength=way.limits(layer)[0])
            sums[path] = sums[path] + seen if path in sums else seen

        return module.get_submodule(path).register_forward_pre_hook(hook)

    handles = [note(path, how) for path, how in chosen.items()]
    try:
        with torch.no_grad():
            for batch in batches:
                module(*batch)
    finally:
        for handle in handles:
            handle.remove()
    return {path: total / counts[path] for path, total in sums.items()}
