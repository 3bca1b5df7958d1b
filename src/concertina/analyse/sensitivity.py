"""What every tensor of a network does to its outputs, to first order: one backward pass instead of a run for each.

The control of a group asks of every member whether reordering it alone would be noticed. Moving a tensor `t` towards
`t'` changes the outputs by their derivative along `t' - t`, to first order; if that is not zero, they are no constant
of it. The derivatives of a random mixture of all outputs come from one backward pass for all tensors at once. Nothing
is concluded from a derivative of zero, or from none: such a member is tried by a run of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from concertina.analyse.slicing import copy_with_tensors

_ARGUMENTS = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
"""Arguments of `F.batch_norm` in order."""


def slopes_of(module: nn.Module, inputs: Sequence[Tensor], factors: Tensor) -> dict[str, Tensor]:
    """Return tensor name -> derivative of a mixture of the outputs by it; nothing for what has none.

    Args:
        module: A network in eval mode; a copy is run, which shares its tensors.
        inputs: What it is called with, (batch, ...) each.
        factors: Of the shape of the outputs, the mixture being the sum of outputs times factors. Random ones turn no
            derivative but zero into zero, with probability one.

    Example:
        >>> slopes_of(nn.Linear(2, 1), (torch.tensor([[1.0, 2.0]]),), torch.tensor([[3.0]]))["weight"]
        tensor([[3., 6.]])
    """
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in named.items() if tensor.is_floating_point()}
    shared = {name: tensor.detach() for name, tensor in named.items()} | leaves
    try:
        with torch.enable_grad(), _Differentiable():
            mixture = (copy_with_tensors(module, shared)(*(item.clone() for item in inputs)) * factors).sum()
            found = torch.autograd.grad(mixture, list(leaves.values()), allow_unused=True)
    except Exception:  # a user's forward may forbid derivatives in any way; then nothing is known
        return {}
    return {
        name: gradient
        for name, gradient in zip(leaves, found, strict=True)
        if gradient is not None and bool(torch.isfinite(gradient).all())
    }


class _Differentiable(TorchFunctionMode):
    """Within the context, normalisation with running statistics has derivatives by them."""

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation, normalisation by its definition."""
        if func is F.batch_norm:
            given = dict(zip(_ARGUMENTS, args, strict=False)) | dict(kwargs or {})
            if not given.get("training") and given["running_mean"] is not None and given["running_var"] is not None:
                return _normalised(given)
        return func(*args, **(kwargs or {}))


def _normalised(given: Mapping[str, Any]) -> Tensor:
    """Return `input` (batch, channels, ...) normalised by its running statistics, by arguments of `F.batch_norm`."""
    wide = (1, -1, *[1] * (given["input"].dim() - 2))
    weight, bias = given.get("weight"), given.get("bias")
    scale = (given["running_var"] + given.get("eps", 1e-5)).rsqrt()
    made: Tensor = (given["input"] - given["running_mean"].view(wide)) * scale.view(wide)
    made = made if weight is None else made * weight.view(wide)
    return made if bias is None else made + bias.view(wide)
