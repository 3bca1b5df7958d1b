"""Copies of a network that hold other tensors: the one way in which a subnet comes to be."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import AnalysisError
from concertina.types import Group, Range, SizeAttribute, dropped_range, ranges_left


def copy_with_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a deep copy of `module` in which every named tensor is replaced, not copied.

    Ties stay ties, because whatever refers to a tensor of the original refers to its replacement in the copy.

    Args:
        module: The network; it is left as it was.
        tensors: Name of a parameter or buffer (first name of tied ones) -> the tensor that stands in its place, of any
            shape. A plain tensor without gradient becomes a frozen `Parameter` where a parameter stood; one that
            carries gradient is put in as it is, so that gradients flow on. Tensors that are not named are copied.

    Returns:
        A module of the same classes, keys and mode; its declared sizes are those of the original (see `fix_sizes`).

    Raises:
        AnalysisError: The network has no tensor of that name.

    Example:
        >>> half = copy_with_tensors(nn.Linear(4, 2), {"weight": torch.ones(1, 4), "bias": torch.zeros(1)})
        >>> half(torch.ones(1, 4))
        tensor([[4.]])
    """
    named: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    unknown = [name for name in tensors if name not in named]
    if unknown:
        raise AnalysisError(f"module {type(module).__name__} has no tensor of this name", asked=repr(unknown[0]))
    memo: dict[int, Any] = {id(named[name]): _stand_in(named[name], tensor) for name, tensor in tensors.items()}
    return copy.deepcopy(module, memo)


def fix_sizes(module: nn.Module, attributes: Iterable[SizeAttribute], dropped: int) -> None:
    """Lower the declared sizes that follow a group, in place; modules that are gone (skipped) are passed over.

    Args:
        module: A network whose tensors have their new shapes already, and which declares those it had with these units.
        attributes: The declared sizes.
        dropped: Units that the group has lost.

    Example:
        >>> layer = nn.Linear(8, 8)
        >>> fix_sizes(layer, [SizeAttribute("", "out_features", positions=2)], 1)
        >>> layer.out_features
        6
    """
    for declared in attributes if dropped else ():
        try:
            owner = module.get_submodule(declared.module)
        except AttributeError:
            continue
        held, less = getattr(owner, declared.attribute), dropped * declared.positions
        if declared.index >= 0:
            sizes = list(held)
            sizes[declared.index] -= less
            setattr(owner, declared.attribute, tuple(sizes))
        else:
            setattr(owner, declared.attribute, held - less)


def narrowed(tensors: Mapping[str, Tensor], groups: Iterable[Group], kept: Mapping[str, int]) -> dict[str, Tensor]:
    """Return those tensors that get smaller when groups keep their first units only: views, copies of several runs.

    Args:
        tensors: Tensor name -> full tensor.
        groups: Groups whose members are narrowed.
        kept: Group name -> units kept; groups that are not named stay whole.
    """
    dropped: defaultdict[tuple[str, int], list[Range]] = defaultdict(list)
    for group in groups:
        units = kept.get(group.name, group.units)
        for member in group.members if units < group.units else ():
            dropped[member.tensor, member.dim].append(dropped_range(member, group.units, units))
    views: dict[str, Tensor] = {}
    for (name, side), gone in dropped.items():
        tensor = views.get(name, tensors[name])
        views[name] = gathered(tensor, side, ranges_left(tensor.shape[side], gone))
    return views


def gathered(tensor: Tensor, side: int, ranges: Sequence[Range]) -> Tensor:
    """Return a tensor with some ranges of a side only: a view where it is one range, else a copy with gradient flow.

    Args:
        tensor: Whole along `side`.
        side: Which side.
        ranges: What stays, rising, at least one.

    Example:
        >>> gathered(torch.arange(6), 0, [(0, 1), (4, 6)])
        tensor([0, 4, 5])
    """
    runs = [torch.narrow(tensor, side, start, stop - start) for start, stop in ranges]
    return runs[0] if len(runs) == 1 else torch.cat(runs, side)


def narrowed_copy(module: nn.Module, groups: Iterable[Group], kept: Mapping[str, int]) -> nn.Module:
    """Return the network with the first units of some groups only: prefix views and declared sizes to match.

    Args:
        module: The full network; the copy shares storage with it.
        groups: Groups of the network.
        kept: Group name -> units kept; groups that are not named stay whole.
    """
    groups = tuple(groups)
    named: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    tensors = {name: tensor.detach() for name, tensor in named.items()}
    copied = copy_with_tensors(module, {**tensors, **narrowed(tensors, groups, kept)})
    for group in groups:
        if kept.get(group.name, group.units) != group.units:
            fix_sizes(copied, group.attributes, group.units - kept[group.name])
    return copied


def untied_copy(module: nn.Module) -> nn.Module:
    """Return a deep copy in which each tied tensor has become several, one for each module that holds it."""
    copied = copy.deepcopy(module)
    seen: set[int] = set()
    for owner in copied.modules():
        for slots in (owner._parameters, owner._buffers):  # noqa: SLF001 - torch has no public way to swap a slot
            for name, tensor in slots.items():
                if tensor is None:
                    continue
                if id(tensor) in seen:
                    slots[name] = _clone(tensor)
                seen.add(id(tensor))
    return copied


def _stand_in(original: Tensor, tensor: Tensor) -> Tensor:
    """Return `tensor` in the kind that `original` has, unless that would cut off gradients."""
    if isinstance(original, nn.Parameter) and not isinstance(tensor, nn.Parameter) and not tensor.requires_grad:
        return nn.Parameter(tensor, requires_grad=False)
    return tensor


def _clone(tensor: Tensor) -> Any:
    copied = tensor.detach().clone()
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def as_contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return independent, contiguous copies of `tensors`."""
    return {name: torch.clone(tensor, memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
