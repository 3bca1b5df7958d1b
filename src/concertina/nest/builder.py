"""From a spec to an ordinary module whose tensors are views of the family's storage."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MethodType
from typing import Any, NoReturn

from torch import Tensor, nn

from concertina.analyse.slicing import copy_with_tensors
from concertina.axes import AXES
from concertina.errors import ViewError
from concertina.nest.order import named_tensors
from concertina.types import Dim, Space, SubnetSpec


def build(
    module: nn.Module,
    space: Space,
    spec: SubnetSpec,
    private: Mapping[str, Tensor] | None = None,
    *,
    gradient: bool = False,
) -> nn.Module:
    """Return the subnet of `module` that `spec` names, as an ordinary module of the same classes.

    Args:
        module: The full network, units in falling importance.
        space: Its dims.
        spec: A canonical spec of the space.
        private: Tensor name -> tensor in the subnet's own shape that stands for the shared one.
        gradient: Whether gradients flow to the full network and the private tensors (for training); otherwise the
            subnet is for inference, in eval mode, and refuses to be trained or loaded into.

    Returns:
        A module whose tensors share storage with `module` or `private`. Skipped blocks are replaced.
    """
    tensors = dict(named_tensors(module) if gradient else _detached(module)) | dict(private or {})
    views = subnet_tensors(space, spec, tensors)
    subnet = copy_with_tensors(module, tensors | views)
    for axis, dims in _by_axis(space).items():
        AXES.get(axis)().slim(subnet, dims, spec)
    return subnet if gradient else _as_view(subnet)


def subnet_tensors(space: Space, spec: SubnetSpec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that the subnet `spec` has, each a view of its namesake in `tensors`.

    Args:
        space: The dims.
        spec: A canonical spec of the space.
        tensors: Tensor name -> tensor, full-sized or already of the subnet's shape.
    """
    views = dict(tensors)
    for axis, dims in _by_axis(space).items():
        views = AXES.get(axis)().view(dims, spec, views)
    return views


def materialize(subnet: nn.Module) -> nn.Module:
    """Return an independent copy of a subnet: contiguous tensors of its own, trainable, in eval mode.

    Example:
        >>> import torch
        >>> free = materialize(torch.nn.Linear(4, 2))
        >>> free.weight.is_contiguous(), free.weight.requires_grad
        (True, True)
    """
    memo: dict[int, Any] = {}
    for parameter in subnet.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().clone().contiguous(), parameter.is_floating_point())
    for buffer in subnet.buffers():
        memo[id(buffer)] = buffer.detach().clone().contiguous()
    free = copy.deepcopy(subnet, memo)
    for name in ("train", "load_state_dict", "materialize"):
        free.__dict__.pop(name, None)
    return free.eval()


def _by_axis(space: Space) -> dict[str, tuple[Dim, ...]]:
    """Return dims by axis, those that change shapes first, so that a block is sized before it is taken out."""
    names = sorted({dim.axis for dim in space.dims}, key=lambda name: (not AXES.get(name).tags.changes_shape, name))
    return {name: tuple(dim for dim in space.dims if dim.axis == name) for name in names}


def _detached(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in named_tensors(module).items()}


def _as_view(subnet: nn.Module) -> nn.Module:
    """Give a subnet its `materialize` method and refuse what would write into shared storage."""
    for parameter in subnet.parameters():
        parameter.requires_grad_(False)
    subnet.eval()
    subnet.materialize = MethodType(materialize, subnet)  # type: ignore[assignment]
    subnet.train = MethodType(_train_view, subnet)  # type: ignore[method-assign]
    subnet.load_state_dict = MethodType(_load_view, subnet)  # type: ignore[method-assign]
    return subnet


def _train_view(subnet: nn.Module, mode: bool = True) -> nn.Module:
    if mode:
        raise ViewError(
            "this subnet is a view of its family's storage and stays in eval mode",
            do="Call .materialize() for a copy that can be trained.",
        )
    return type(subnet).train(subnet, False)


def _load_view(_subnet: nn.Module, *_args: Any, **_kwargs: Any) -> NoReturn:
    raise ViewError(
        "loading into a view would overwrite its family's storage",
        do="Call .materialize() for a copy that can be loaded into.",
    )
