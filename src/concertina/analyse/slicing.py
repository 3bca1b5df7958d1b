"""Copies of a network that hold other tensors: the one way in which a subnet comes to be."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from concertina.errors import AnalysisError
from concertina.types import Group, Range, SizeAttribute, dropped_range, ranges_left

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes that torch gives every module."""
_COPIES_ITSELF = ("__deepcopy__", "__slots__", "__getnewargs__", "__getnewargs_ex__")
"""What a class has that copies its instances in a way of its own."""


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

    To be run in eval mode and thrown away: plain layers of torch that do not change are shared.

    Args:
        module: The full network; the copy shares storage with it.
        groups: Groups of the network.
        kept: Group name -> units kept; groups that are not named stay whole.
    """
    groups = tuple(groups)
    named: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    tensors = {name: tensor.detach() for name, tensor in named.items()}
    cut = [group for group in groups if kept.get(group.name, group.units) != group.units]
    declaring = {declared.module for group in cut for declared in group.attributes}
    copied = light_copy(module, tensors, narrowed(tensors, cut, kept), declaring)
    for group in cut:
        fix_sizes(copied, group.attributes, group.units - kept[group.name])
    return copied


def light_copy(
    module: nn.Module, tensors: Mapping[str, Tensor], changed: Mapping[str, Tensor], apart: Collection[str] = ()
) -> nn.Module:
    """Return a copy that holds some other tensors and shares the rest, plain layers of torch included.

    Args:
        module: The network.
        tensors: Its tensors by name, without gradient.
        changed: Name -> the tensor that stands in its place.
        apart: Paths of layers that are not to be shared; `whole_copy` shares none.
    """
    named = every_tensor(module)
    own = {id(named[name]) for name in changed}
    memo: dict[int, Any] = {
        id(layer): layer
        for path, layer in module.named_modules()
        if path not in apart and _is_plain(layer) and not own & set(map(id, _tensors_of(layer)))
    }
    for held in (tensors, changed):
        memo |= {id(named[name]): _stand_in(named[name], tensor) for name, tensor in held.items()}
    _copy_modules(module, memo)
    return copy.deepcopy(module, memo)


def _copy_modules(module: nn.Module, memo: dict[int, Any]) -> None:
    """Put copies of ordinary modules into `memo`, as deepcopy would make them, but for their empty lists of hooks.

    Those lists, a dozen for each module, are what deepcopy takes longest for.
    """
    fresh = [m for m in module.modules() if id(m) not in memo and not any(hasattr(type(m), n) for n in _COPIES_ITSELF)]
    fresh = [m for m in fresh if type(m).__setstate__ is nn.Module.__setstate__]
    memo |= {id(layer): type(layer).__new__(type(layer)) for layer in fresh}
    for layer in fresh:
        for name, value in vars(layer).items():
            is_empty = name in _OF_EVERY_MODULE and isinstance(value, dict) and not value
            vars(memo[id(layer)])[name] = type(value)() if is_empty else copy.deepcopy(value, memo)


def whole_copy(module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return what `copy_with_tensors` does, in less time.

    Args:
        module: The network.
        tensors: Every parameter and buffer by its first name -> the tensor that stands in its place.
    """
    return light_copy(module, {}, tensors, [path for path, _ in module.named_modules()])


def every_tensor(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer by each of its names."""
    parameters: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    return {**parameters, **dict(module.named_buffers(remove_duplicate=False))}


def _is_plain(layer: nn.Module) -> bool:
    """Return whether a layer is torch's own and holds nothing but its tensors and numbers."""
    held = [value for name, value in vars(layer).items() if name not in _OF_EVERY_MODULE]
    hooks = [value for name, value in vars(layer).items() if name.endswith("_hooks")]
    is_torch = type(layer).__module__.startswith("torch.nn.modules.") and not any(layer.children())
    return is_torch and not any(hooks) and all(map(_is_number, held))


def _is_number(value: object) -> bool:
    """Return whether a value is a number, a text or nothing, or a list of such."""
    if isinstance(value, tuple | list):
        return all(map(_is_number, value))
    return value is None or isinstance(value, bool | int | float | str)


def _tensors_of(layer: nn.Module) -> list[Tensor]:
    return [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]


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
