"""From a spec to an ordinary module whose tensors are views of the family's storage."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
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
    tensors = named_tensors(module) | dict(private or {})
    if not gradient:
        tensors = {name: tensor.detach() for name, tensor in tensors.items()}
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
    for name in _GUARDS:
        free.__dict__.pop(name, None)
    return free.eval()


def _by_axis(space: Space) -> dict[str, tuple[Dim, ...]]:
    """Return dims by axis, those that change shapes first, so that a block is sized before it is taken out."""
    names = sorted({dim.axis for dim in space.dims}, key=lambda name: (not AXES.get(name).tags.changes_shape, name))
    return {name: tuple(dim for dim in space.dims if dim.axis == name) for name in names}


def _as_view(subnet: nn.Module) -> nn.Module:
    """Give a subnet its `materialize` method and refuse what would write into shared storage or change the subnet.

    The same view is handed to everybody who asks, so it must not take another dtype or device for one of them.
    """
    for parameter in subnet.parameters():
        parameter.requires_grad_(False)
    subnet.eval()
    for name, guard in _GUARDS.items():
        setattr(subnet, name, partial(guard, subnet))
    return subnet


def _refused(what: str, free_to: str) -> ViewError:
    return ViewError(f"this subnet is a view of its family's storage {what}", do=f"Call .materialize() {free_to}.")


def _train_view(subnet: nn.Module, mode: bool = True) -> nn.Module:
    if mode:
        raise _refused("and stays in eval mode", "for a copy that can be trained")
    return type(subnet).train(subnet, False)


def _load_view(_subnet: nn.Module, *_args: Any, **_kwargs: Any) -> NoReturn:
    raise _refused("and loading would overwrite that", "for a copy that can be loaded into")


def _require_grad_of_view(subnet: nn.Module, requires_grad: bool = True) -> nn.Module:
    if requires_grad:
        raise _refused("and takes no gradients", "for a copy that can be trained")
    return subnet


def _apply_to_view(subnet: nn.Module, change: Callable[[Tensor], Tensor], *_args: Any, **_kwargs: Any) -> nn.Module:
    """Let `.to()`, `.float()` and their like pass where they change nothing."""
    for tensor in named_tensors(subnet).values():
        try:
            changed = change(tensor) is not tensor
        except (RuntimeError, AssertionError, NotImplementedError):  # a device that is not there
            changed = True
        if changed:
            raise _refused("and keeps its dtype, device and layout", "for a copy that can be changed")
    return subnet


_GUARDS: Mapping[str, Callable[..., nn.Module]] = {
    "materialize": materialize,
    "train": _train_view,
    "load_state_dict": _load_view,
    "requires_grad_": _require_grad_of_view,
    "_apply": _apply_to_view,
}
"""Methods that a view has in place of its class's."""
