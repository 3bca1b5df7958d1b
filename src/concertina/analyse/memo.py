"""Products that need not be computed again: the dearest operations of a forward pass, remembered from earlier runs.

Verification runs one network hundreds of times, and each time a few tensors differ. So the results of linear layers,
convolutions and the like are kept on a tape: an operation whose weights hold what they held and whose other inputs are
what they were gives back what it gave. Nothing is assumed of modules: everything between those operations is run.

Whether a weight holds what it held is known by marks (`Contents`); all other inputs are compared by value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

DEAR: frozenset[Callable[..., Any]] = frozenset(
    {
        F.linear, F.bilinear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
        torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm, torch.bmm, Tensor.bmm, torch.addmm,
        Tensor.addmm, torch.baddbmm, Tensor.baddbmm, F.scaled_dot_product_attention,
    }
)  # fmt: skip
"""Operations that depend on their inputs alone, give one tensor, and are most of a forward pass."""
MOST_ARGUMENTS = {F.scaled_dot_product_attention: 4}
"""Operations that are not looked up with more arguments in order: attention, whose fifth draws at random."""
ROUNDING = 1e-12
"""Largest difference, relative to the largest value, that passes for rounding in float64; other types get none."""
PLAIN = (Tensor, nn.Parameter)
Key = tuple[Hashable, ...]


class Contents:
    """What each tensor of a network holds, as a mark: equal marks, equal values."""

    def __init__(self) -> None:
        self._marks: dict[int, int] = {}
        self._fresh = count()
        self._held: list[object] = []
        self._spare: dict[Key, list[Tensor]] = {}

    def add(self, tensors: Mapping[str, Tensor], same_as: Mapping[str, Tensor] | None = None) -> None:
        """Take tensors into account; their storage is kept, so that no other tensor comes to lie in its place.

        Args:
            tensors: Tensors by name.
            same_as: Tensors that are known already and hold the same, by name; none for new contents.
        """
        for name, tensor in tensors.items():
            known = self._marks.get(_storage(same_as[name])) if same_as and name in same_as else None
            self._marks.setdefault(_storage(tensor), next(self._fresh) if known is None else known)
            self._held.append(tensor.untyped_storage())

    def of(self, tensor: Tensor) -> Key | None:
        """Return what is equal for tensors that hold the same in the same way; None for one that is not known."""
        mark = self._marks.get(_storage(tensor))
        if mark is None:
            return None
        return mark, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype

    @contextmanager
    def replaced(self, tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """Within the context, some of `tensors` hold other values, of the same shapes; they are changed in place.

        Args:
            tensors: Tensors by name.
            values: Name -> what it holds instead.

        Yields:
            Copies of what they held before, which are gone after the context.
        """
        before = {name: self._copy(tensors[name].detach()) for name in values}
        marks = {place: self._marks.get(place) for place in (_storage(tensors[name]) for name in values)}
        with torch.no_grad():
            try:
                self._marks |= dict(zip(marks, self._fresh, strict=False))
                for name, value in values.items():
                    tensors[name].copy_(value)
                yield before
            finally:
                for name, value in before.items():
                    tensors[name].copy_(value)
                for place, mark in marks.items():
                    if mark is None:
                        del self._marks[place]
                    else:
                        self._marks[place] = mark
                for value in before.values():
                    self._spare[tuple(value.shape), value.dtype].append(value)

    def _copy(self, tensor: Tensor) -> Tensor:
        """Return a copy, in memory that was used before where there is some: fresh memory is what makes copies slow."""
        spare = self._spare.setdefault((tuple(tensor.shape), tensor.dtype), [])
        return (spare.pop() if spare else torch.empty(tensor.shape, dtype=tensor.dtype)).copy_(tensor)


@dataclass(frozen=True)
class _Entry:
    """One operation as it was: its inputs by value, their versions then, and what it gave."""

    inputs: tuple[Tensor, ...]
    versions: tuple[int, ...]
    output: Tensor

    def fits(self, inputs: Sequence[Tensor], is_exact: bool) -> bool:
        """Return whether other inputs are these, which nobody has changed since."""
        if len(inputs) != len(self.inputs) or any(
            old._version != version  # noqa: SLF001 - torch has no public way to tell whether a tensor was changed
            for old, version in zip(self.inputs, self.versions, strict=True)
        ):
            return False
        return all(_is_same(new, old, is_exact) for new, old in zip(inputs, self.inputs, strict=True))


class Tape:
    """What the dear operations of runs took and gave; later runs write over earlier ones."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}

    def find(self, key: Key, inputs: Sequence[Tensor], is_exact: bool) -> Tensor | None:
        """Return what an operation gave, as a copy; None when it was not run with these inputs."""
        entry = self._entries.get(key)
        return entry.output.clone() if entry is not None and entry.fits(inputs, is_exact) else None

    def keep(self, key: Key, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Take down an operation."""
        versions = tuple(tensor._version for tensor in inputs)  # noqa: SLF001
        self._entries[key] = _Entry(tuple(inputs), versions, output.clone())


class Remembering(TorchFunctionMode):
    """Within the context, dear operations are looked up on tapes before they are run. For one run without gradients.

    Args:
        contents: What the weights hold.
        known: Tapes to look at, the likeliest first.
        new: Tape that takes down what had to be run; none for no tape.
        is_exact: Whether inputs must be equal to the last bit, rather than but for rounding.
    """

    def __init__(self, contents: Contents, known: Sequence[Tape], new: Tape | None, is_exact: bool) -> None:
        super().__init__()
        self._contents, self._known, self._new, self._is_exact = contents, tuple(known), new, is_exact
        self._times: dict[Key, int] = {}

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation, or give what it gave."""
        kwargs = kwargs or {}
        if func not in DEAR or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        if kwargs.get("out") is not None or kwargs.get("dropout_p") or len(args) > MOST_ARGUMENTS.get(func, 99):
            return func(*args, **kwargs)
        given = (*args, *kwargs.values())
        if any(isinstance(item, Tensor) and (type(item) not in PLAIN or item.is_inference()) for item in given):
            return func(*args, **kwargs)
        return self._recalled(func, args, kwargs, given)

    def _recalled(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], given: Sequence[Any]
    ) -> Any:
        marks = [self._contents.of(item) if isinstance(item, Tensor) else None for item in given]
        inputs = [item for item, mark in zip(given, marks, strict=True) if isinstance(item, Tensor) and mark is None]
        shapes = [(item.shape, item.stride(), item.dtype) for item in inputs]
        plain = [repr(item) for item in given if not isinstance(item, Tensor)]
        key: Key = (func, tuple(kwargs), tuple(marks), tuple(shapes), tuple(plain))
        key = (*key, self._times.setdefault(key, 0))
        self._times[key[:-1]] += 1
        for tape in self._known:
            found = tape.find(key, inputs, self._is_exact)
            if found is not None:
                return found
        output = func(*args, **kwargs)
        if self._new is not None:
            self._new.keep(key, inputs, output)
        return output


def _is_same(new: Tensor, old: Tensor, is_exact: bool) -> bool:
    if torch.equal(new, old):
        return True
    if is_exact or new.dtype != torch.float64:
        return False
    return float((new - old).abs_().max()) <= ROUNDING * float(old.abs().max())


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
